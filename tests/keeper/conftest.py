"""The fixtures of these tests: a pipeline with dead letters on a fresh database, and keepers of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest

from ingestd.config import options as cfg
from ingestd.keeper.keeper import Post, posts_of
from tests.sinks.contracts import Bench, ask, pipeline_of


def turn_until(post: Post, condition: Callable[[], object], secs: float = 30) -> None:
    """Turns of this post until the condition holds."""
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "the keeper did not get there in time"
        post.turn()


class Kept:
    """A bench whose dead letters are to be kept, and as many keepers as a test wants."""

    def __init__(self, url: str, bootstrap_servers: str, **options: Any):
        self.url = url
        ask(url, "CREATE TABLE orders (id text PRIMARY KEY, v int)")
        letters = {"max_ratio": 1.0, "max_run": 1_000_000, **options}
        self.bench = Bench(url, pipeline_of({"id": "text", "v": "int4"}, dead_letters=letters))
        self.config = cfg.Config(
            kafka=cfg.Kafka(bootstrap_servers=bootstrap_servers, group_id="g"),
            store=cfg.Store(url=url),
            pipeline=(self.bench.pipeline,),
        )
        self._posts: list[Post] = []
        self._next = 0

    def refuse(self, values: Sequence[Any]) -> None:
        """Dead letters of these payloads."""
        self.bench.commit(values, start=self._next)
        self._next += len(values)

    def post(self, config: cfg.Config | None = None) -> Post:
        """A keeper's post, in a session of its own."""
        self._posts += posts_of(config or self.config)
        return self._posts[-1]

    def with_letters(self, **options: Any) -> cfg.Config:
        """The configuration with other options of the dead letters."""
        letters = msgspec.structs.replace(self.bench.pipeline.dead_letters, **options)
        pipeline = msgspec.structs.replace(self.bench.pipeline, dead_letters=letters)
        return msgspec.structs.replace(self.config, pipeline=(pipeline,))

    def marked(self, purpose: str) -> int:
        """How many letters wait no longer."""
        return int(ask(self.url, f"SELECT count({purpose}_at) FROM ingestd.dead_letters")[0][0])

    def close(self) -> None:
        for post in self._posts:
            post.close()
        self.bench.store.close()


@pytest.fixture
def kept(database: str) -> Iterator[Callable[..., Kept]]:
    """`kept(bootstrap_servers, topic=, parquet=)` makes one."""
    made: list[Kept] = []

    def make(bootstrap_servers: str = "127.0.0.1:1", **options: Any) -> Kept:
        made.append(Kept(database, bootstrap_servers, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
