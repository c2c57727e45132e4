"""Claim, fence, transactions and errors of the SQLite store."""

import os
import sqlite3
from pathlib import Path

import pytest

from ingestd.batch import Tile
from ingestd.errors import Halt, IngestdError, Retryable
from ingestd.stores.faults import RowsRefused, UnknownFault
from ingestd.stores.sqlite.errors import decide
from ingestd.stores.sqlite.store import SqliteStore
from tests.sqlite.bench import ask
from tests.sqlite.conftest import MakeStore
from tests.sqlite.flow import locked


def _from_zero(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
    return {p: (0, "topic-id") for p in new}


def _commit(store: SqliteStore, start: int, end: int, epoch: int, row: str | None = None) -> None:
    with store.transaction([Tile(0, start, end)], {0: epoch}) as tx:
        if row is not None:
            tx.cursor.execute("INSERT INTO t VALUES (?)", (row,))


def test_file_held_by_another_process_is_waited_for_as_long_as_asked(store: MakeStore, path: str) -> None:
    one = store(lock_timeout=0.2)
    (lease,) = one.claim([0], _from_zero)
    with locked(path), pytest.raises(Retryable, match="SQLITE_BUSY: database is locked"):
        _commit(one, 0, 1, lease.epoch)
    (again,) = one.claim([0], _from_zero, {0: lease.epoch})
    _commit(one, 0, 1, again.epoch)


def test_closed_connection_holds_no_lock_while_a_cursor_of_it_is_alive(store: MakeStore, path: str) -> None:
    # An error between a statement and its rows leaves such a cursor in the traceback, perhaps for ever.
    ask(path, "CREATE TABLE t (id TEXT)")
    one = store(lock_timeout=0.2)
    (lease,) = one.claim([0], _from_zero)
    with pytest.raises(MemoryError), one.transaction([Tile(0, 0, 1)], {0: lease.epoch}) as tx:
        tx.cursor.execute("INSERT INTO t VALUES ('a'), ('b')")
        unread = one.open().execute("SELECT id FROM t")
        raise MemoryError
    one.close()
    (again,) = one.claim([0], _from_zero, {0: lease.epoch})
    _commit(one, 0, 1, again.epoch, "c")
    assert ask(path, "SELECT id FROM t") == [("c",)]
    assert unread is not None


def test_file_that_is_gone_is_not_made_anew(store: MakeStore, path: str) -> None:
    one = store()
    one.claim([0], _from_zero)
    one.close()
    for suffix in ("", "-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)
    with pytest.raises(Retryable, match="unable to open"):
        one.open()
    assert not os.path.exists(path)


def test_nothing_is_committed_into_a_file_that_was_moved_away(store: MakeStore, path: str) -> None:
    ask(path, "CREATE TABLE t (id TEXT)")
    one = store()
    (lease,) = one.claim([0], _from_zero)
    os.rename(path, path + ".moved")
    with pytest.raises(Halt, match="removed or replaced while it was open; put it back"):
        _commit(one, 0, 1, lease.epoch, "lost")
    with pytest.raises(Halt, match="removed or replaced"), one.side_transaction():
        pass
    os.rename(path + ".moved", path)
    assert ask(path, "SELECT id FROM t") == []


def test_missing_directory_halts_with_its_name(store: MakeStore, tmp_path: Path) -> None:
    from ingestd.config import options as cfg
    from tests.sqlite.conftest import KEY

    away = SqliteStore(cfg.Store(url=f"sqlite:///{tmp_path}/nowhere/x.db"), KEY)
    with pytest.raises(Halt, match=r"nowhere does not exist; create it"):
        away.open()


@pytest.mark.parametrize(("option", "level"), [("on", 2), ("off", 1)])
def test_synchronous_commit_is_sqlites_synchronous(store: MakeStore, option: str, level: int) -> None:
    connection = store(synchronous_commit=option).open()
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_side_transaction_moves_no_cursor_and_can_be_tried(store: MakeStore, path: str) -> None:
    ask(path, "CREATE TABLE t (id TEXT)")
    one = store()
    one.claim([0], lambda new, first: {0: (5, "id")})
    with one.side_transaction(keep=False) as tx:
        assert tx.replay_below == {0: 5}
        tx.cursor.execute("INSERT INTO t VALUES ('tried')")
    with one.side_transaction() as tx:
        tx.cursor.execute("INSERT INTO t VALUES ('kept')")
    assert ask(path, "SELECT id FROM t") == [("kept",)]


def test_cursor_moved_by_hand_ends_its_range(store: MakeStore, path: str) -> None:
    one = store()
    (lease,) = one.claim([0], _from_zero)
    _commit(one, 0, 8, lease.epoch)
    ask(path, "UPDATE ingestd_cursors SET next_offset = 3")
    (moved,) = one.claim([0], _from_zero, {0: lease.epoch})
    assert (moved.next_offset, moved.replay_below) == (3, 8)
    ranges = "SELECT range_start, range_end, ended_by FROM ingestd_ranges"
    assert ask(path, ranges) == [(0, 8, "unknown move")]
    assert ask(path, "SELECT range_start, range_end FROM ingestd_cursors") == [(3, 3)]


def test_ledger_of_an_older_version_gets_what_it_lacks(store: MakeStore, path: str) -> None:
    store().close()
    ask(path, "ALTER TABLE ingestd_cursors DROP COLUMN redriven; ALTER TABLE ingestd_cursors DROP COLUMN range_end;")
    (lease,) = store().claim([0], _from_zero)
    assert lease.next_offset == 0
    assert ask(path, "SELECT redriven FROM ingestd_cursors") == [(0,)]


def _error(code: int, text: str = "said") -> sqlite3.Error:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode, error.sqlite_errorname = code, "NAME"
    return error


@pytest.mark.parametrize(
    ("code", "text", "decision"),
    [
        (sqlite3.SQLITE_BUSY, "", Retryable),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "", Retryable),
        (sqlite3.SQLITE_LOCKED, "", Retryable),
        (sqlite3.SQLITE_FULL, "", Retryable),
        (sqlite3.SQLITE_IOERR, "", Retryable),
        (sqlite3.SQLITE_IOERR_FSYNC, "", Retryable),
        (sqlite3.SQLITE_CANTOPEN, "", Retryable),
        (sqlite3.SQLITE_READONLY, "", Retryable),
        (sqlite3.SQLITE_NOMEM, "", Retryable),
        (sqlite3.SQLITE_READONLY_DBMOVED, "", Halt),
        (sqlite3.SQLITE_CORRUPT, "", Halt),
        (sqlite3.SQLITE_NOTADB, "", Halt),
        (sqlite3.SQLITE_ERROR, "no such table: t", Halt),
        (sqlite3.SQLITE_ERROR, "table t has no column named v", Halt),
        (sqlite3.SQLITE_CONSTRAINT_CHECK, "", RowsRefused),
        (sqlite3.SQLITE_CONSTRAINT_VTAB, "", RowsRefused),
        (sqlite3.SQLITE_MISMATCH, "", RowsRefused),
        (sqlite3.SQLITE_TOOBIG, "", RowsRefused),
        (sqlite3.SQLITE_ERROR, "malformed JSON", RowsRefused),
        (sqlite3.SQLITE_ERROR, "something new", UnknownFault),
        (sqlite3.SQLITE_INTERNAL, "", UnknownFault),
    ],
)
def test_every_class_of_error_has_its_decision(code: int, text: str, decision: type[IngestdError]) -> None:
    found = decide(_error(code, text), "silver.db")
    assert type(found) is decision
    assert decision is RowsRefused or "silver.db" in str(found)


def test_real_errors_are_decided_as_the_table_says(store: MakeStore, tmp_path: Path, path: str) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_text("no database " * 500)
    from ingestd.config import options as cfg
    from tests.sqlite.conftest import KEY

    with pytest.raises(Halt, match="SQLITE_NOTADB"):
        SqliteStore(cfg.Store(url=f"sqlite:///{foreign}"), KEY).open()
    one = store()
    with pytest.raises(Halt, match="no such table: nowhere"), one.side_transaction() as tx:
        tx.cursor.execute("INSERT INTO nowhere VALUES (1)")
    assert not one.open().in_transaction
