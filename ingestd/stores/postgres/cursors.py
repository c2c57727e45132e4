"""Cursors in PostgreSQL as the operator sees and moves them while no worker holds the partition. Knows no Kafka."""

from collections.abc import Sequence
from typing import Any

import psycopg

from ingestd.errors import StartupError
from ingestd.stores.cursors import NO_MOVES, CursorRow, Move, Moves, ended_by
from ingestd.stores.postgres.ledger import finish_ranges, make_ledger
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import LedgerKey


def read_cursor_rows(connection: psycopg.Connection[Any], key: LedgerKey) -> list[CursorRow]:
    """Every cursor of a pipeline, by partition; empty when the ledger does not know it."""
    with connection.cursor() as cursor:
        found = cursor.execute(SQL["schema_exists"]).fetchone()
        if not found or not found[0]:
            return []
        rows = cursor.execute(SQL["holder"], key.params()).fetchall()
    return [
        CursorRow(partition, at, topic_id or "", held, address, updated.isoformat(timespec="seconds"))
        for partition, at, topic_id, held, address, updated in rows
    ]


def move_cursors(
    connection: psycopg.Connection[Any],
    key: LedgerKey,
    moves: Sequence[Move],
    rebuild: bool = False,
    also: Moves = NO_MOVES,
) -> None:
    """Move the cursors, and `also` those of other groups, in one transaction: their ranges end.

    The raised epoch fences a worker that still runs.

    `rebuild`: the table was emptied, and what is read again counts as read for the first time.
    Raises: StartupError when a worker holds one of the partitions, or when the ledger does not know it; Halt when the
    ledger is of an older version and this role may not mend it.
    """
    with connection.transaction(), connection.cursor() as cursor:
        make_ledger(cursor, connection.info.dbname)
        for group, its_moves in {key: moves, **also}.items():
            _move_group(connection, cursor, group, its_moves, rebuild and group == key)


def _move_group(
    connection: psycopg.Connection[Any],
    cursor: psycopg.Cursor[Any],
    key: LedgerKey,
    moves: Sequence[Move],
    rebuild: bool,
) -> None:
    cursor.execute(SQL["lock_cursors"], key.params())
    rows = {row.partition: row for row in read_cursor_rows(connection, key)}
    for move in moves:
        row = rows.get(move.partition)
        if row is None:
            raise StartupError(f"{key.topic}-{move.partition}: the ledger has no cursor; run the pipeline once first")
        if row.held:
            where = row.held_from or "a local session"
            stop = "stop the daemon there, or let the partition halt, then try again"
            raise StartupError(f"{key.topic}-{move.partition}: a worker holds it (from {where}); {stop}")
        at = move.next_offset
        finish_ranges(cursor, key, [move.partition], ended_by(at, rebuild))
        values = key.params(partition=move.partition, next_offset=at, topic_id=move.topic_id, rebuild=rebuild)
        cursor.execute(SQL["move_cursor_by_hand"], values)
