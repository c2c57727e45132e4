"""What claim and commit promise in every store, on a real server and in a real file."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.batch import Tile
from ingestd.config import options as cfg
from ingestd.errors import LeaseLost, Retryable
from ingestd.stores.open import open_store
from ingestd.stores.store import LedgerKey, Store
from tests.sinks.contracts import ask as ask_server
from tests.sqlite.bench import ask as ask_file

MakeStore = Callable[..., Store]
Ask = Callable[[str], list[Any]]


@pytest.fixture(params=["postgres", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/silver.db"


@pytest.fixture
def ask(url: str) -> Ask:
    """The rows of a query on a connection of its own; `LEDGER.` is the prefix of the ledger's tables."""
    if url.startswith("sqlite"):
        return lambda query: ask_file(url.removeprefix("sqlite:///"), query.replace("LEDGER.", "ingestd_"))
    return lambda query: ask_server(url, query.replace("LEDGER.", "ingestd."))


@pytest.fixture
def store(url: str) -> Iterator[MakeStore]:
    """`store()` gives another store of the same pipeline; closed after the test."""
    made: list[Store] = []

    def make(pipeline: str = "p") -> Store:
        made.append(open_store(cfg.Store(url=url, lock_timeout=cfg.Secs(5)), LedgerKey(pipeline, "orders")))
        made[-1].prepare()
        return made[-1]

    yield make
    for one in made:
        one.close()


def _from_zero(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
    return {p: (0, "topic-id") for p in new}


def _commit(store: Store, start: int, end: int, epoch: int, row: str | None = None) -> None:
    with store.transaction([Tile(0, start, end)], {0: epoch}) as tx:
        if row is not None:
            tx.cursor.execute(f"INSERT INTO t VALUES ('{row}')")


def test_commit_under_a_stale_epoch_is_lost_and_leaves_nothing(store: MakeStore, ask: Ask) -> None:
    ask("CREATE TABLE t (id text PRIMARY KEY)")
    old, new = store(), store()
    (first,) = old.claim([0], _from_zero)
    ask("UPDATE LEDGER.cursors SET backend_pid = NULL")  # so that the zombie lives on
    (second,) = new.claim([0], _from_zero)
    with pytest.raises(LeaseLost):
        _commit(old, 0, 3, first.epoch, "zombie")
    _commit(new, 0, 3, second.epoch, "owner")
    assert ask("SELECT id FROM t") == [("owner",)]


def test_commit_that_does_not_start_at_the_cursor_is_lost_and_leaves_nothing(store: MakeStore, ask: Ask) -> None:
    ask("CREATE TABLE t (id text PRIMARY KEY)")
    one = store()
    (lease,) = one.claim([0], _from_zero)
    _commit(one, 0, 3, lease.epoch, "first")
    for start in (0, 2, 4):
        with pytest.raises(LeaseLost):
            _commit(one, start, 9, lease.epoch, "again")
    assert ask("SELECT id FROM t") == [("first",)]


def test_one_lost_partition_rolls_the_others_back(store: MakeStore, ask: Ask) -> None:
    one = store()
    epochs = {lease.partition: lease.epoch for lease in one.claim([0, 1], _from_zero)}
    ask("UPDATE LEDGER.cursors SET epoch = epoch + 1 WHERE partition = 1")
    with pytest.raises(LeaseLost), one.transaction([Tile(1, 0, 2), Tile(0, 0, 2)], epochs):
        pass
    assert ask("SELECT next_offset FROM LEDGER.cursors") == [(0,), (0,)]


def test_claim_again_is_granted_to_the_holder_and_refused_to_the_fenced(store: MakeStore) -> None:
    one, other = store(), store()
    (first,) = one.claim([0], _from_zero)
    one.close()
    (again,) = one.claim([0], _from_zero, {0: first.epoch})
    assert again.epoch == first.epoch + 1
    (taken,) = other.claim([0], _from_zero)
    one.close()
    with pytest.raises(LeaseLost):
        one.claim([0], _from_zero, {0: again.epoch})
    (still,) = other.claim([0], _from_zero, {0: taken.epoch})
    assert still.epoch == taken.epoch + 1


def test_partition_without_a_first_offset_is_waited_for(store: MakeStore) -> None:
    with pytest.raises(Retryable, match="no cursor for partitions"):
        store().claim([0, 7], lambda new, first: {0: (5, "id")})
    assert [lease.epoch for lease in store().claim([0], _from_zero)] == [1], "what was refused took no lease"


def test_no_commit_in_a_session_that_did_not_claim(store: MakeStore) -> None:
    """No claim could end it: a broken session is answered by a claim, never by a new connection alone."""
    one = store()
    (lease,) = one.claim([0], _from_zero)
    one.close()
    with pytest.raises(Retryable, match="the session that claimed is gone"):
        _commit(one, 0, 1, lease.epoch)


def test_pipelines_do_not_see_each_others_cursors(store: MakeStore) -> None:
    one, other = store(), store("q")
    (first,) = one.claim([0], _from_zero)
    other.claim([0], lambda new, first_run: {p: (50, "id") for p in new})
    _commit(one, 0, 4, first.epoch)
    assert [lease.next_offset for lease in other.claim([0], _from_zero)] == [50]
