"""The ledger's tables in PostgreSQL: made, brought up to date, and their ranges ended. Knows no lease and no Kafka."""

import re
from collections.abc import Sequence
from typing import Any

import psycopg

from ingestd.errors import Halt
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import LedgerKey

_TABLES = ("cursors", "ranges", "dead_letters")
_COLUMN = re.compile(rb'^ +"?([a-z_]+)"? +(.+?),?$', re.MULTILINE)


def make_ledger(cursor: psycopg.Cursor[Any], where: str) -> None:
    """Create the tables that are missing, and add the columns that an older version did not have.

    One query when nothing is missing; then no CREATE privilege is needed. `where` is for messages.
    Raises: Halt with the statements to run when this role may not.
    """
    if not _missing(cursor):
        return
    cursor.execute(SQL["schema_lock"])
    missing = _missing(cursor)  # another worker may have been first
    try:
        for statement in missing:
            cursor.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Halt(
            f"PostgreSQL at {where}: the ledger lacks tables or columns, and this role may not add them; "
            f"run as the owner, then reload (HUP): {_one_line(missing)}"
        ) from error


def what_lacks(cursor: psycopg.Cursor[Any]) -> str:
    """The statements that make or complete the ledger, on one line; "" when it is complete."""
    return _one_line(_missing(cursor))


def _one_line(statements: Sequence[bytes]) -> str:
    return " ".join(b"".join(statement + b"; " for statement in statements).decode().split())


def _missing(cursor: psycopg.Cursor[Any]) -> list[bytes]:
    """The statements that complete the ledger, in order; empty when it is complete."""
    rows = cursor.execute(SQL["ledger_columns"], {"tables": list(_TABLES)}).fetchall()
    found: dict[str, set[str]] = {table: set() for table in _TABLES}
    for table, column in rows:
        found[table].add(column)
    statements = [] if rows else [SQL["create_schema"]]
    for table, columns in found.items():
        create = SQL[f"create_{table}"]
        wanted = [(name, kind) for name, kind in _COLUMN.findall(create) if name.decode() not in columns]
        if not columns:
            statements.append(create)
        elif wanted:
            added = b", ".join(b'ADD COLUMN IF NOT EXISTS "%s" %s' % column for column in wanted)
            statements.append(b"ALTER TABLE ingestd.%s %s" % (table.encode(), added))
    return statements


def finish_ranges(cursor: psycopg.Cursor[Any], key: LedgerKey, partitions: Sequence[int], ended_by: str) -> None:
    """Archive the ranges of these cursors, whose rows the caller has locked, and begin new ones where they stand."""
    values = key.params(partitions=list(partitions), ended_by=ended_by)
    cursor.execute(SQL["archive_range"], values)
    cursor.execute(SQL["begin_range"], values)
