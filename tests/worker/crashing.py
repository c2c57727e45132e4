"""A defect of our own in one topic of a worker process; see `worker_process`."""

from typing import Any

from ingestd.worker import lease


def crash_once(topic: str) -> None:
    """The first decoder that is made for `topic` is not made."""
    module: Any = lease
    crashed: list[str] = []
    make_decoder = module.make_decoder

    def make(pipeline: Any, *more: Any, **named: Any) -> Any:
        if pipeline.topic == topic and not crashed:
            crashed.append(topic)
            raise RuntimeError("a defect for the test")
        return make_decoder(pipeline, *more, **named)

    module.make_decoder = make
