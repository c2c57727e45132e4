"""The runs in PostgreSQL. Knows no process and no lake."""

from collections.abc import Sequence
from typing import Any

import psycopg

from ingestd.run_id import Run
from ingestd.stores.postgres.ledger import make_tables
from ingestd.stores.runs import Counts, RunRow, counts_text, require_running, run_row, run_values
from ingestd.stores.statements import load_statements

_SQL = load_statements("runs.sql")
_TABLES = {"runs": (_SQL["create_runs"],)}


class PostgresRuns:
    """See `ingestd.stores.runs.Runs`."""

    def prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Create the table when it is missing. Raises: Halt with the statement when this role may not."""
        with connection.cursor() as cursor:
            make_tables(cursor, connection.info.dbname, _TABLES)
            connection.commit()

    def begin(self, connection: psycopg.Connection[Any], run: Run, pipelines: Sequence[str]) -> None:
        """`run` is running; nothing when it is there already."""
        connection.execute(_SQL["begin_run"], run_values(run, pipelines))
        connection.commit()

    def end(self, connection: psycopg.Connection[Any], run_id: str, status: str, counts: Counts | None = None) -> bool:
        """A running one is over now; whether it was running."""
        values = {"run_id": run_id, "status": status, "counts": counts_text(counts)}
        ended = connection.execute(_SQL["end_run"], values).rowcount
        connection.commit()
        return ended > 0

    def hold(self, cursor: psycopg.Cursor[Any], run_id: str) -> None:
        """Before files of the run are committed: whoever ends it waits for this transaction."""
        found = cursor.execute(_SQL["hold_run"], {"run_id": run_id}).fetchone()
        require_running(found and found[0], run_id)

    def list(self, connection: psycopg.Connection[Any]) -> list[RunRow]:
        """All runs, the oldest first; none where there is no table."""
        there = connection.execute("SELECT to_regclass('ingestd.runs') IS NOT NULL").fetchone()
        rows = connection.execute(_SQL["list_runs"]).fetchall() if there and there[0] else []
        connection.commit()
        return [run_row(row) for row in rows]
