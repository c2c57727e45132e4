"""Cursors in an SQLite file as the operator sees and moves them while no worker holds the partition. No Kafka here."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence

from ingestd.errors import StartupError
from ingestd.stores.cursors import NO_MOVES, CursorRow, Move, Moves, ended_by
from ingestd.stores.sqlite.file import SQL, begin, connect, finish_ranges, ledger_tables, make_ledger
from ingestd.stores.sqlite.store import process_start
from ingestd.stores.store import LedgerKey


def read_cursor_rows(path: str, key: LedgerKey) -> list[CursorRow]:
    """Every cursor of a pipeline, by partition; empty when there is no file, or the ledger does not know it.

    Raises: StartupError when the file cannot be read.
    """
    if not os.path.exists(path):
        return []
    with _opened(path, "ro") as connection:
        return _rows(connection, key) if "cursors" in ledger_tables(connection) else []


def move_cursors(
    path: str, key: LedgerKey, moves: Sequence[Move], rebuild: bool = False, also: Moves = NO_MOVES
) -> None:
    """Move the cursors, and `also` those of other groups, in one transaction; a worker that still runs is fenced.

    `rebuild`: the table was emptied, and what is read again counts as read for the first time.
    Raises: StartupError when a worker holds one of the partitions, or when the ledger does not know it.
    """
    with _opened(path, "rw") as connection:
        make_ledger(connection)
        cursor = begin(connection)
        for group, its_moves in {key: moves, **also}.items():
            _move_group(connection, cursor, group, its_moves, rebuild and group == key)
        cursor.execute("COMMIT")


def _move_group(
    connection: sqlite3.Connection, cursor: sqlite3.Cursor, key: LedgerKey, moves: Sequence[Move], rebuild: bool
) -> None:
    rows = {row.partition: row for row in _rows(connection, key)}
    for move in moves:
        row, at = rows.get(move.partition), move.next_offset
        if row is None:
            raise StartupError(f"{key.topic}-{move.partition}: the ledger has no cursor; run the pipeline once first")
        if row.held:
            stop = "stop the daemon, or let the partition halt, then try again"
            raise StartupError(f"{key.topic}-{move.partition}: a worker holds it (from {row.held_from}); {stop}")
        finish_ranges(cursor, key, [move.partition], ended_by(at, rebuild))
        values = key.params(partition=move.partition, next_offset=at, topic_id=move.topic_id, rebuild=rebuild)
        cursor.execute(SQL["move_cursor_by_hand"], values)


@contextlib.contextmanager
def _opened(path: str, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection; what was not committed is rolled back when it closes."""
    try:
        with contextlib.closing(connect(path, mode=mode)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StartupError(f"SQLite file {path}: {error}; mend that and try again") from error


def _rows(connection: sqlite3.Connection, key: LedgerKey) -> list[CursorRow]:
    found = []
    for partition, at, topic_id, pid, start, updated in connection.execute(SQL["cursor_rows"], key.params()):
        # A number may have gone to another process since: only the same start is the same process.
        held = pid is not None and process_start(pid) == str(start).partition(".")[0]
        found.append(CursorRow(partition, at, topic_id or "", held, f"process {pid}" if held else None, updated))
    return found
