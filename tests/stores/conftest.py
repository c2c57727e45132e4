"""The fixtures of these tests: stores on one fresh database, as two workers would have them."""

from collections.abc import Callable, Iterator

import pytest

from ingestd.config import options as cfg
from ingestd.stores.postgres.store import PostgresStore
from ingestd.stores.store import LedgerKey

MakeStore = Callable[..., PostgresStore]
KEY = LedgerKey("p", "orders")


@pytest.fixture
def store(database: str) -> Iterator[MakeStore]:
    """`store(url=None)` gives another store of the same pipeline; closed after the test."""
    made: list[PostgresStore] = []

    def make(url: str | None = None, key: LedgerKey = KEY) -> PostgresStore:
        made.append(PostgresStore(cfg.Store(url=url or database, lock_timeout=cfg.Secs(5)), key))
        made[-1].prepare()
        return made[-1]

    yield make
    for one in made:
        one.close()
