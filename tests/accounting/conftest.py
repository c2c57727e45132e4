"""The fixtures of these tests: a pipeline on a real database whose table tells where its rows came from, or not."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ingestd.accounting.account import ReadLog
from ingestd.accounting.verify import Report, verify
from ingestd.config import options as cfg
from tests.sinks.contracts import Bench, ask, pipeline_of

LINEAGE = [{"name": "part", "type": "int4", "source": "partition"}, {"name": "off", "type": "int8", "source": "offset"}]


class Books:
    """What the daemon would have written, the hands that change it, and the verdict."""

    def __init__(self, url: str, pipeline: cfg.Pipeline, partitions: tuple[int, ...]):
        self.url = url
        self.bench = Bench(url, pipeline, partitions)
        self.commit = self.bench.commit
        self.claim = self.bench.claim

    def sql(self, query: str, *values: Any) -> list[Any]:
        return ask(self.url, query, *values)

    def verify(self, read_log: ReadLog | None = None, *chosen: int) -> Report:
        pipeline = self.bench.pipeline
        config = cfg.Config(
            kafka=cfg.Kafka(bootstrap_servers="x", group_id="g"), store=cfg.Store(url=self.url), pipeline=(pipeline,)
        )
        return verify(config, pipeline, chosen, read_log)


MakeBooks = Callable[..., Books]


@pytest.fixture
def books(database: str) -> Iterator[MakeBooks]:
    """`books(lineage=False, mode="insert", partitions=(0,), **options of the pipeline)`."""

    made: list[Books] = []

    def make(lineage: bool = False, mode: str = "insert", partitions: tuple[int, ...] = (0,), **more: Any) -> Books:
        columns = [{"name": "id", "type": "int8", "required": True}, *(LINEAGE if lineage else [])]
        pipeline = pipeline_of({}, mode=mode, create=True, **{"column": columns, **more})
        made.append(Books(database, pipeline, partitions))
        return made[-1]

    yield make
    for one in made:
        one.bench.store.close()


def records(*numbers: int) -> list[dict[str, int]]:
    return [{"id": number} for number in numbers]
