"""Columns added for new fields, in an SQLite file. Knows no records and no lease."""

from collections.abc import Mapping
from typing import Any

from ingestd.config import options as cfg
from ingestd.schema.sqlite import sqlite_type
from ingestd.schema.types import parse_type
from ingestd.stores.evolution import Evolved, evolved_columns, wanted_columns
from ingestd.stores.sqlite.table_check import quoted
from ingestd.stores.statements import load_statements

_SQL = {name: text.decode() for name, text in load_statements("evolution.sql").items() if name.startswith("sqlite_")}


class SqliteEvolution:
    """See `ingestd.stores.evolution.EvolvedColumns`."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._values = {"pipeline": pipeline.name, "table_name": pipeline.table.name}

    def read(self, connection: Any) -> Evolved:
        """What is there."""
        known = connection.execute(_SQL["sqlite_evolved_exists"]).fetchone()[0]
        rows = connection.execute(_SQL["sqlite_read_evolved"], self._values).fetchall() if known else []
        table = {"table_name": self._pipeline.table.name}
        return evolved_columns(rows, connection.execute(_SQL["sqlite_read_columns"], table).fetchall())

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        """Add a column for each field that has none yet; the fields that now have one. Commits."""
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SQL["sqlite_create_evolved"])
        evolved = self.read(connection)
        wanted = wanted_columns(self._pipeline, evolved, fields)
        for name, kind in wanted.items():
            declared = sqlite_type(parse_type(kind)).declared
            connection.execute(f"ALTER TABLE {quoted(self._pipeline.table.name)} ADD COLUMN {quoted(name)} {declared}")
            values = {**self._values, "column_name": name, "column_type": kind}
            connection.execute(_SQL["sqlite_remember_evolved"], values)
        connection.execute("COMMIT")
        return [name for name in fields if name in wanted or name in evolved.columns]
