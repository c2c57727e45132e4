"""The fixtures of these tests: an SQLite file, and a writer on it without Kafka."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingestd.config import options as cfg
from ingestd.stores.sqlite.store import SqliteStore
from ingestd.stores.store import LedgerKey
from tests.sinks.contracts import pipeline_of
from tests.sqlite.bench import FileBench, ask

MakeBench = Callable[..., FileBench]
MakeStore = Callable[..., SqliteStore]
KEY = LedgerKey("p", "orders")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the file of the test is, or will be."""
    return str(tmp_path / "silver.db")


@pytest.fixture
def bench(path: str) -> Iterator[MakeBench]:
    """`bench(ddl, columns, ...)` runs the DDL and gives a FileBench for the table; arguments as for `pipeline_of`."""
    made: list[FileBench] = []

    def make(
        ddl: str, columns: dict[str, str] | cfg.Pipeline, partitions: Sequence[int] = (0,), **more: Any
    ) -> FileBench:
        if ddl:
            ask(path, ddl)
        pipeline = pipeline_of(columns, **more) if isinstance(columns, dict) else columns
        made.append(FileBench(path, pipeline, partitions))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def store(path: str) -> Iterator[MakeStore]:
    """`store()` gives another store of the same pipeline on the same file; closed after the test."""
    made: list[SqliteStore] = []

    def make(key: LedgerKey = KEY, **options: Any) -> SqliteStore:
        made.append(SqliteStore(cfg.Store(url=f"sqlite:///{path}", **options), key))
        made[-1].prepare()
        return made[-1]

    yield make
    for one in made:
        one.close()
