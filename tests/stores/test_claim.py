"""Claim, fence and first offsets, on a real server."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ingestd.batch import Tile
from ingestd.config import options as cfg
from ingestd.errors import Halt, LeaseLost
from ingestd.stores.postgres.store import PostgresStore
from tests.sinks.contracts import Bench, ask, pipeline_of
from tests.stores.conftest import KEY, MakeStore


def _from_zero(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
    return {p: (0, "topic-id") for p in new}


def _commit(store: PostgresStore, start: int, end: int, epoch: int, row: str | None = None) -> None:
    with store.transaction([Tile(0, start, end)], {0: epoch}) as tx:
        if row is not None:
            tx.cursor.execute("INSERT INTO t VALUES (%s)", (row,))


def _until(condition: Callable[[], Any], secs: float = 10) -> None:
    deadline = time.monotonic() + secs
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        threading.Event().wait(0.02)


def _alive(url: str, pid: int) -> bool:
    return bool(ask(url, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", pid))


def test_claim_ends_a_holder_that_stopped_in_mid_copy(store: MakeStore, database: str) -> None:
    """Its row locks would hold the new owner up for ever."""
    ask(database, "CREATE TABLE t (id text PRIMARY KEY)")
    old, new = store(), store()
    old.claim([0], _from_zero)
    connection = old.open()
    copy = connection.cursor().copy("COPY t FROM STDIN")
    writing = copy.__enter__()
    writing.write(b"".join(b"k%d\n" % n for n in range(30_000)))
    watched = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'ClientRead'"
    _until(lambda: ask(database, watched, connection.info.backend_pid))
    began = time.monotonic()
    (lease,) = new.claim([0], _from_zero)
    _commit(new, 0, 5, lease.epoch, "k5")
    assert time.monotonic() - began < 4
    assert not _alive(database, connection.info.backend_pid)
    assert ask(database, "SELECT id FROM t") == [("k5",)]
    connection.close()


def test_claim_ends_a_holder_that_stopped_between_cursor_update_and_commit(store: MakeStore, database: str) -> None:
    old, new = store(), store()
    (first,) = old.claim([0], _from_zero)
    connection = old.open()
    connection.execute(b"UPDATE ingestd.cursors SET next_offset = 9, epoch = %d" % first.epoch)
    (lease,) = new.claim([0], _from_zero)
    assert (lease.next_offset, lease.epoch) == (0, first.epoch + 1)
    assert not _alive(database, connection.info.backend_pid)
    connection.close()


def test_claim_that_waited_for_a_commit_reads_on_behind_it(store: MakeStore, database: str) -> None:
    """The cursor it returns is the committed one, not that of its snapshot."""
    old, new = store(), store()
    (first,) = old.claim([0], _from_zero)
    connection = old.open()
    connection.execute(b"UPDATE ingestd.cursors SET next_offset = 9, records = 9")
    leases: list[Any] = []
    waiting = threading.Thread(target=lambda: leases.extend(new.claim([0], _from_zero)))
    waiting.start()
    _until(lambda: ask(database, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    connection.commit()
    waiting.join(10)
    assert [(lease.next_offset, lease.epoch) for lease in leases] == [(9, first.epoch + 1)]


def test_fenced_worker_that_claims_again_does_not_end_the_new_owner(store: MakeStore, database: str) -> None:
    """Also while the new owner stands before its COMMIT, and the claim has to wait for its lock."""
    fenced, owner = store(), store()
    (old,) = fenced.claim([0], _from_zero)
    owner.claim([0], _from_zero)
    fenced.close()
    connection = owner.open()
    connection.execute(b"UPDATE ingestd.cursors SET next_offset = 3")
    with pytest.raises(LeaseLost):
        fenced.claim([0], _from_zero, {0: old.epoch})
    connection.commit()
    assert ask(database, "SELECT next_offset FROM ingestd.cursors") == [(3,)]


def test_claim_whose_answer_was_lost_is_not_taken_for_another_workers(store: MakeStore, database: str) -> None:
    """The epoch was raised by this worker's own session: it may go on."""
    one = store()
    (first,) = one.claim([0], _from_zero)
    pid = one.open().info.backend_pid
    ask(database, "UPDATE ingestd.cursors SET epoch = epoch + 1 WHERE backend_pid = %s", pid)
    one.close()
    (again,) = one.claim([0], _from_zero, {0: first.epoch})
    assert again.epoch == first.epoch + 2


def test_every_partition_is_pinned_by_the_first_claim_and_a_later_one_is_asked_anew(
    store: MakeStore, database: str
) -> None:
    asked: list[tuple[list[int], bool]] = []

    def first_offsets(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
        asked.append((new, first_run))
        return {p: (100 + p, "id") for p in ((0, 1, 2) if first_run else new)}

    one = store()
    assert [lease.next_offset for lease in one.claim([1], first_offsets)] == [101]
    assert ask(database, "SELECT partition, next_offset FROM ingestd.cursors ORDER BY 1") == [
        (0, 100),
        (1, 101),
        (2, 102),
    ]
    assert [lease.next_offset for lease in one.claim([2, 3], first_offsets)] == [102, 103]
    assert asked == [([1], True), ([3], False)]


def test_eight_starters_create_one_ledger(database: str) -> None:
    errors: list[BaseException] = []
    together = threading.Barrier(8)

    def start() -> None:
        one = PostgresStore(cfg.Store(url=database), KEY)
        try:
            one.open()
            together.wait(20)
            one.prepare()
        except BaseException as error:
            errors.append(error)
        finally:
            one.close()

    starters = [threading.Thread(target=start) for _ in range(8)]
    for one in starters:
        one.start()
    for one in starters:
        one.join(30)
    assert errors == []
    assert ask(database, "SELECT count(*) FROM ingestd.cursors") == [(0,)]


def test_ledger_that_exists_needs_no_privilege_to_create(store: MakeStore, database: str) -> None:
    role = f"plain_{database.rsplit('_', 1)[1]}"
    info = psycopg.conninfo.conninfo_to_dict(database)
    url = f"postgresql://{role}:pw@{info['host']}:{info['port']}/{info['dbname']}"
    ask(database, f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        with pytest.raises(Halt):
            store(url)
        store()
        ask(database, f"GRANT USAGE ON SCHEMA ingestd TO {role}")
        ask(database, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA ingestd TO {role}")
        plain = store(url)
        (lease,) = plain.claim([0], _from_zero)
        _commit(plain, 0, 1, lease.epoch)
        assert ask(database, "SELECT next_offset FROM ingestd.cursors") == [(1,)]
    finally:
        ask(database, f"DROP OWNED BY {role} CASCADE")
        ask(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
        ask(database, f"DROP ROLE {role}")


def test_claim_that_was_never_answered_does_not_take_the_next_owners_lease(store: MakeStore, database: str) -> None:
    """Stopped before it learnt of its first claim, it holds no epochs, but it knows what it saw when it began."""
    old, new = store(), store()
    old.claim([0], _from_zero)
    (lease,) = new.claim([0], _from_zero)
    old.close()
    with pytest.raises(LeaseLost):
        old.claim([0], _from_zero)
    _commit(new, 0, 5, lease.epoch)


def test_date_style_of_a_database_does_not_crash_the_worker(database: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    ask(database, f"ALTER DATABASE \"{name}\" SET DateStyle = 'SQL, DMY'")
    bench = Bench(database, pipeline_of({"id": "text"}, create=True))
    bench.commit([{"id": "a"}])
    bench.claim([0])
    bench.commit([{"id": "b"}], 1)
    bench.store.close()
    assert ask(database, "SELECT id FROM orders ORDER BY id") == [("a",), ("b",)]
