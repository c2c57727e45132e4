"""The ledger's tables in PostgreSQL: made, brought up to date, and their ranges ended. Knows no lease and no Kafka."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from ingestd.errors import Halt
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import LedgerKey

_TABLES = {table: (SQL[f"create_{table}"],) for table in ("cursors", "ranges", "dead_letters")}
_COLUMN = re.compile(rb'^ +"?([a-z_]+)"? +(.+?),?$', re.MULTILINE)


def make_ledger(cursor: psycopg.Cursor[Any], where: str) -> None:
    """Create the tables that are missing, and add the columns that an older version did not have.

    One query when nothing is missing; then no CREATE privilege is needed. `where` is for messages.
    Raises: Halt with the statements to run when this role may not.
    """
    make_tables(cursor, where, _TABLES)


def make_tables(cursor: psycopg.Cursor[Any], where: str, tables: Mapping[str, Sequence[bytes]]) -> None:
    """As `make_ledger`, for these tables of its schema: by name what makes each, then its indexes."""
    if not _missing(cursor, tables):
        return
    cursor.execute(SQL["schema_lock"])
    missing = _missing(cursor, tables)  # another worker may have been first
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
    return _one_line(_missing(cursor, _TABLES))


def _one_line(statements: Sequence[bytes]) -> str:
    return " ".join(b"".join(statement + b"; " for statement in statements).decode().split())


def _missing(cursor: psycopg.Cursor[Any], tables: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    """The statements that complete the tables, in order; empty when they are complete."""
    rows = cursor.execute(SQL["ledger_columns"], {"tables": list(tables)}).fetchall()
    found: dict[str, set[str]] = {table: set() for table in tables}
    for table, column in rows:
        found[table].add(column)
    # CREATE SCHEMA IF NOT EXISTS wants the privilege even where there is one.
    has_schema = rows or cursor.execute(SQL["has_schema"]).fetchone() == (True,)
    statements = [] if has_schema else [SQL["create_schema"]]
    for table, columns in found.items():
        create, *_ = tables[table]
        wanted = [(name, kind) for name, kind in _COLUMN.findall(create) if name.decode() not in columns]
        if not columns:
            statements += tables[table]
        elif wanted:
            added = b", ".join(b'ADD COLUMN IF NOT EXISTS "%s" %s' % column for column in wanted)
            statements.append(b"ALTER TABLE ingestd.%s %s" % (table.encode(), added))
    return statements


def finish_ranges(cursor: psycopg.Cursor[Any], key: LedgerKey, partitions: Sequence[int], ended_by: str) -> None:
    """Archive the ranges of these cursors, whose rows the caller has locked, and begin new ones where they stand."""
    values = key.params(partitions=list(partitions), ended_by=ended_by)
    cursor.execute(SQL["archive_range"], values)
    cursor.execute(SQL["begin_range"], values)
