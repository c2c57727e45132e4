"""The fixtures of these tests: a writer on a fresh database."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ingestd.config import options as cfg
from tests.sinks.contracts import Bench, ask, pipeline_of

MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(database: str) -> Iterator[MakeBench]:
    """`bench(ddl, columns, ...)` runs the DDL and gives a Bench for the table; arguments as for `pipeline_of`."""
    made: list[Bench] = []

    def make(ddl: str, columns: dict[str, str], partitions: Sequence[int] = (0,), **more: Any) -> Bench:
        if ddl:
            ask(database, ddl)
        pipeline: cfg.Pipeline = pipeline_of(columns, **more)
        made.append(Bench(database, pipeline, partitions))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def upserts(database: str) -> Iterator[MakeBench]:
    """`upserts(pipeline, partitions)` gives a Bench for a table that the pipeline makes."""
    made: list[Bench] = []

    def make(pipeline: cfg.Pipeline, partitions: Sequence[int] = (0,)) -> Bench:
        made.append(Bench(database, pipeline, partitions))
        return made[-1]

    yield make
    for one in made:
        one.store.close()
