"""The statements of stage and current tables in an SQLite file. Knows no run and no file of a lake."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from ingestd.stores.sqlite.file import begin
from ingestd.stores.statements import load_statements

_SQL = {name: text.decode() for name, text in load_statements("medallion.sql").items()}
_TABLES = ("stage_units", "staged_runs", "current_tables", "current_runs")


class SqliteMedallion:
    """See `ingestd.stores.medallion.Statements`."""

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create the tables that are missing."""
        if connection.execute(f"PRAGMA table_info(ingestd_{_TABLES[-1]})").fetchone():
            return
        begin(connection)
        for table in _TABLES:
            connection.execute(_SQL[f"sqlite_create_{table}"])
        connection.execute("COMMIT")

    def read(self, connection: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows, as of now."""
        return connection.execute(_SQL[f"sqlite_{name}"], dict(values)).fetchall()

    def write(self, cursor: sqlite3.Cursor, name: str, values: Mapping[str, Any]) -> int:
        """In the cursor's transaction; how many rows changed."""
        return cursor.execute(_SQL[f"sqlite_{name}"], dict(values)).rowcount

    def commit(self, connection: sqlite3.Connection, name: str, values: Mapping[str, Any]) -> None:
        """In a transaction of its own."""
        begin(connection).execute(_SQL[f"sqlite_{name}"], dict(values))
        connection.execute("COMMIT")
