"""The statements of stage and current tables in PostgreSQL. Knows no run and no file."""

from collections.abc import Mapping
from typing import Any

import psycopg

from ingestd.stores.postgres.ledger import make_tables
from ingestd.stores.statements import load_statements

_SQL = load_statements("medallion.sql")
_TABLES = {name: (_SQL[f"create_{name}"],) for name in ("stage_units", "staged_runs", "current_tables", "current_runs")}


class PostgresMedallion:
    """See `ingestd.stores.medallion.Statements`."""

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Create the tables that are missing. Raises: Halt with the statements when this role may not."""
        with connection.cursor() as cursor:
            make_tables(cursor, connection.info.dbname, _TABLES)
            connection.commit()

    def read(self, connection: psycopg.Connection[Any], name: str, values: Mapping[str, Any]) -> list[Any]:
        """The rows, as of now."""
        rows = connection.execute(_SQL[name], values).fetchall()
        connection.commit()
        return rows

    def write(self, cursor: psycopg.Cursor[Any], name: str, values: Mapping[str, Any]) -> int:
        """In the cursor's transaction; how many rows changed."""
        return cursor.execute(_SQL[name], values).rowcount

    def commit(self, connection: psycopg.Connection[Any], name: str, values: Mapping[str, Any]) -> None:
        """In a transaction of its own."""
        connection.execute(_SQL[name], values)
        connection.commit()
