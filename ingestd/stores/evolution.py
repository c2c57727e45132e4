"""Columns that ingestd adds to a table for new fields, remembered in the ledger. Knows no records and no lease.

A column and the memory of it commit together. What another has made is never filled: a producer must not be able to
write a column of the table that the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.schema_types import parse_type
from ingestd.stores.open import is_sqlite
from ingestd.stores.statements import load_statements

MAX_EVOLVED_COLUMNS = 100
"""Of one table. Beyond them, a producer that invents names would fill the table with columns."""
_LOCK_TIMEOUT = "2s"
"""While ALTER TABLE waits for its lock, every other session waits behind it."""
_SQL = load_statements("evolution.sql")
_SQLITE = {name: text.decode() for name, text in _SQL.items() if name.startswith("sqlite_")}


class Evolved(Struct, frozen=True):
    """What the ledger and the table tell."""

    columns: dict[str, str]
    """Column -> contract type of those that were added for this pipeline or another of the same table, oldest first."""
    others: frozenset[str]
    """Columns of the table that nobody evolved."""


class EvolvedColumns(Protocol):
    """The evolved columns of one pipeline's table; see `open_evolution`. Connections as the store opens them."""

    def read(self, connection: Any) -> Evolved:
        """What is there. Commits."""
        ...

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        """Add a nullable column for each field that has none yet, and remember it; the fields that now have one.

        Commits. Raises what the driver raises, a lock that is not to be had within two seconds among it.
        """
        ...


def open_evolution(store: cfg.Store, pipeline: cfg.Pipeline) -> EvolvedColumns:
    """The evolved columns of the pipeline's table, in the store of that kind."""
    return _Sqlite(pipeline) if is_sqlite(store) else _Postgres(pipeline)


def _wanted(pipeline: cfg.Pipeline, evolved: Evolved, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that may become columns, in order; SQLite, and people, take Name and name for the same."""
    taken = {name.lower() for name in (*evolved.others, *evolved.columns)}
    taken |= {column.name.lower() for column in pipeline.column}
    wanted: dict[str, str] = {}
    for name, kind in sorted(fields.items()):
        if name.lower() not in taken and len(evolved.columns) + len(wanted) < MAX_EVOLVED_COLUMNS:
            wanted[name] = kind
            taken.add(name.lower())
    return wanted


def _evolved(rows: Iterable[tuple[str, str]], columns: Iterable[tuple[str]]) -> Evolved:
    found = dict(rows)
    return Evolved(found, frozenset(name for (name,) in columns) - found.keys())


class _Postgres:
    def __init__(self, pipeline: cfg.Pipeline):
        from psycopg import sql

        self._pipeline = pipeline
        self._table = sql.Identifier(*pipeline.table.name.split(".", 1))
        self._values = {
            "pipeline": pipeline.name,
            "table_name": pipeline.table.name,
            "regclass": self._table.as_string(),
        }

    def read(self, connection: Any) -> Evolved:
        with connection.cursor() as cursor:
            found = self._read(cursor)
            connection.commit()
        return found

    def _read(self, cursor: Any) -> Evolved:
        known = cursor.execute(_SQL["evolved_exists"]).fetchone()[0]
        rows = cursor.execute(_SQL["read_evolved"], self._values).fetchall() if known else []
        return _evolved(rows, cursor.execute(_SQL["read_columns"], self._values).fetchall())

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        from psycopg import sql

        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
            cursor.execute(_SQL["evolution_lock"])
            if not cursor.execute(_SQL["evolved_exists"]).fetchone()[0]:
                cursor.execute(_SQL["create_evolved"])
            evolved = self._read(cursor)
            wanted = _wanted(self._pipeline, evolved, fields)
            if wanted:
                added = sql.SQL(", ").join(
                    sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), _type(kind))
                    for name, kind in wanted.items()
                )
                cursor.execute(sql.SQL("ALTER TABLE {} ").format(self._table) + added)
            for name, kind in wanted.items():
                values = {**self._values, "column_name": name, "column_type": kind}
                cursor.execute(_SQL["remember_evolved"], values)
            connection.commit()
        return [name for name in fields if name in wanted or name in evolved.columns]


def _type(kind: str) -> Any:
    from psycopg import sql

    written = parse_type(kind).pg_type  # a name out of the table of types, never out of a record
    return sql.SQL(written)


class _Sqlite:
    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._values = {"pipeline": pipeline.name, "table_name": pipeline.table.name}

    def read(self, connection: Any) -> Evolved:
        known = connection.execute(_SQLITE["sqlite_evolved_exists"]).fetchone()[0]
        rows = connection.execute(_SQLITE["sqlite_read_evolved"], self._values).fetchall() if known else []
        table = {"table_name": self._pipeline.table.name}
        return _evolved(rows, connection.execute(_SQLITE["sqlite_read_columns"], table).fetchall())

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        from ingestd.schema_sqlite import sqlite_type

        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SQLITE["sqlite_create_evolved"])
        evolved = self.read(connection)
        wanted = _wanted(self._pipeline, evolved, fields)
        for name, kind in wanted.items():
            declared = sqlite_type(parse_type(kind)).declared
            connection.execute(
                f"ALTER TABLE {_quoted(self._pipeline.table.name)} ADD COLUMN {_quoted(name)} {declared}"
            )
            values = {**self._values, "column_name": name, "column_type": kind}
            connection.execute(_SQLITE["sqlite_remember_evolved"], values)
        connection.execute("COMMIT")
        return [name for name in fields if name in wanted or name in evolved.columns]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
