"""A DuckLake catalogue in a schema of PostgreSQL. Knows no files."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from ingestd.errors import Halt
from ingestd.stores.postgres.statements import SQL

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")


class PostgresDuckLake:
    """See `ingestd.stores.ducklake.Dialect`."""

    def __init__(self, schema: str):
        self._schema = schema
        self._quoted = '"' + schema.replace('"', '""') + '"'
        self.words: Mapping[str, str] = {
            "c": self._quoted + ".",
            "f": "ingestd.lake_files",
            "time": "timestamptz",
            "uuid": "uuid",
            "bool": "boolean",
            "true": "true",
            "false": "false",
            "now": "clock_timestamp()",
            "hour_ago": "clock_timestamp() - interval '1 hour'",
            "paths": "SELECT unnest(CAST(:paths AS text[]))",
            "ids": "SELECT unnest(CAST(:ids AS bigint[]))",
        }

    def run(self, cursor: psycopg.Cursor[Any], statement: str, values: Mapping[str, Any]) -> list[Any]:
        """Execute one statement; its rows, if any."""
        cursor.execute(_PARAMETER.sub(r"%(\1)s", statement).encode(), values)
        return cursor.fetchall() if cursor.description else []

    def run_many(self, cursor: psycopg.Cursor[Any], statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one statement for each row, without waiting in between."""
        cursor.executemany(_PARAMETER.sub(r"%(\1)s", statement).encode(), rows)

    def is_there(self, cursor: psycopg.Cursor[Any]) -> bool:
        """Whether the schema has the catalogue's tables."""
        (found,) = cursor.execute("SELECT to_regclass(%s)", (f"{self._quoted}.ducklake_metadata",)).fetchone() or (
            None,
        )
        return found is not None

    def make(self, connection: psycopg.Connection[Any], statements: Sequence[str]) -> bool:
        """Begin to make the catalogue. Raises: Halt when this role may not."""
        cursor = connection.execute(SQL["schema_lock"])
        if self.is_there(cursor):
            return False
        try:
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}".encode())
            for statement in statements:
                cursor.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege as error:
            raise Halt(
                f"lake.ducklake: this role may not make the schema {self._schema} or a table in it; let an "
                f"administrator run: CREATE SCHEMA {self._quoted} AUTHORIZATION <the role of store.url>"
            ) from error
        return True

    def begin(self, connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
        """A cursor in a transaction."""
        return connection.cursor()

    def lock(self, cursor: psycopg.Cursor[Any]) -> None:
        """Waits for other workers and for writers of DuckLake itself; readers go on."""
        cursor.execute(f"LOCK TABLE {self._quoted}.ducklake_snapshot IN SHARE ROW EXCLUSIVE MODE".encode())

    def commit(self, connection: psycopg.Connection[Any]) -> None:
        """End the transaction."""
        connection.commit()
