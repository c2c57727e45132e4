"""A DuckLake catalogue in the SQLite file of the store: only there it commits with the manifest. Knows no files."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from ingestd.stores.sqlite.file import begin


class SqliteDuckLake:
    """See `ingestd.stores.ducklake.Dialect`. DuckLake looks for tables by their names, and passes over all others."""

    words: Mapping[str, str] = {
        "c": "",
        "f": "ingestd_lake_files",
        "time": "varchar",
        "uuid": "varchar",
        "bool": "bigint",
        "true": "1",
        "false": "0",
        "now": "strftime('%Y-%m-%d %H:%M:%f+00', 'now')",
        "hour_ago": "strftime('%Y-%m-%d %H:%M:%f+00', 'now', '-1 hour')",
        "paths": "SELECT value FROM json_each(:paths)",
        "ids": "SELECT value FROM json_each(:ids)",
    }

    def run(self, cursor: sqlite3.Cursor, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """Execute one statement; its rows, if any."""
        plain = {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}
        return cursor.execute(statement, plain).fetchall()

    def run_many(self, cursor: sqlite3.Cursor, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one statement for each row."""
        cursor.executemany(statement, rows)

    def is_there(self, cursor: sqlite3.Cursor) -> bool:
        """Whether the file has the catalogue's tables."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'ducklake_metadata'"
        return cursor.execute(query).fetchone() is not None

    def make(self, connection: sqlite3.Connection, statements: Sequence[str]) -> bool:
        """Begin to make the catalogue."""
        cursor = begin(connection)
        if self.is_there(cursor):
            return False
        for statement in statements:
            cursor.execute(statement)
        return True

    def begin(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        """A cursor in a transaction that has the only write lock."""
        return begin(connection)

    def lock(self, cursor: sqlite3.Cursor) -> None:
        """Every writer has the file's only write lock."""

    def commit(self, connection: sqlite3.Connection) -> None:
        """End the transaction, if there is one."""
        if connection.in_transaction:
            connection.execute("COMMIT")
