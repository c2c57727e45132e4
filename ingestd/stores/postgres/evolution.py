"""Columns added for new fields, in PostgreSQL. Knows no records and no lease."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.types import parse_type
from ingestd.stores.evolution import Evolved, evolved_columns, wanted_columns
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.statements import load_statements

_SQL = load_statements("evolution.sql")
LOCK_TIMEOUT = "2s"
"""While ALTER TABLE waits for its lock, every other session waits behind it."""


class PostgresEvolution:
    """See `ingestd.stores.evolution.EvolvedColumns`."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._table = sql.Identifier(*pipeline.table.name.split(".", 1))
        self._values = {
            "pipeline": pipeline.name,
            "table_name": pipeline.table.name,
            "regclass": self._table.as_string(),
        }

    def read(self, connection: Any) -> Evolved:
        """What is there. Commits."""
        with connection.cursor() as cursor:
            found = self._read(cursor)
            connection.commit()
        return found

    def _read(self, cursor: Any) -> Evolved:
        known = cursor.execute(_SQL["evolved_exists"]).fetchone()[0]
        rows = cursor.execute(_SQL["read_evolved"], self._values).fetchall() if known else []
        return evolved_columns(rows, cursor.execute(_SQL["read_columns"], self._values).fetchall())

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        """Add a column for each field that has none yet; the fields that now have one. Commits."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            cursor.execute(SQL["schema_lock"])
            if not cursor.execute(_SQL["evolved_exists"]).fetchone()[0]:
                cursor.execute(_SQL["create_evolved"])
            evolved = self._read(cursor)
            wanted = wanted_columns(self._pipeline, evolved, fields)
            if wanted:
                added = sql.SQL(", ").join(
                    sql.SQL("ADD COLUMN {} {}").format(sql.Identifier(name), type_sql(kind))
                    for name, kind in wanted.items()
                )
                cursor.execute(sql.SQL("ALTER TABLE {} ").format(self._table) + added)
            for name, kind in wanted.items():
                values = {**self._values, "column_name": name, "column_type": kind}
                cursor.execute(_SQL["remember_evolved"], values)
            connection.commit()
        return [name for name in fields if name in wanted or name in evolved.columns]


def type_sql(kind: str) -> Any:
    """A contract type as DDL names it."""
    written = parse_type(kind).pg_type  # a name out of the table of types, never out of a record
    return sql.SQL(written)
