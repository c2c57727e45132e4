"""The runs in an SQLite file. Knows no process and no lake."""

import sqlite3
from collections.abc import Sequence

from ingestd.run_id import Run
from ingestd.stores.runs import Counts, RunRow, counts_text, require_running, run_row, run_values
from ingestd.stores.sqlite.file import begin
from ingestd.stores.statements import load_statements

_SQL = {name: text.decode() for name, text in load_statements("runs.sql").items()}


class SqliteRuns:
    """See `ingestd.stores.runs.Runs`."""

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create the table when it is missing."""
        if not connection.execute("PRAGMA table_info(ingestd_runs)").fetchone():
            begin(connection).execute(_SQL["sqlite_create_runs"])
            connection.execute("COMMIT")

    def begin(self, connection: sqlite3.Connection, run: Run, pipelines: Sequence[str]) -> None:
        """`run` is running; nothing when it is there already."""
        begin(connection).execute(_SQL["sqlite_begin_run"], run_values(run, pipelines))
        connection.execute("COMMIT")

    def end(self, connection: sqlite3.Connection, run_id: str, status: str, counts: Counts | None = None) -> bool:
        """A running one is over now; whether it was running."""
        values = {"run_id": run_id, "status": status, "counts": counts_text(counts)}
        ended = begin(connection).execute(_SQL["sqlite_end_run"], values).rowcount
        connection.execute("COMMIT")
        return ended > 0

    def hold(self, cursor: sqlite3.Cursor, run_id: str) -> None:
        """Before files of the run are committed: this transaction has the file for itself."""
        found = cursor.execute(_SQL["sqlite_hold_run"], {"run_id": run_id}).fetchone()
        require_running(found and found[0], run_id)

    def list(self, connection: sqlite3.Connection) -> list[RunRow]:
        """All runs, the oldest first; none where there is no table."""
        if not connection.execute("PRAGMA table_info(ingestd_runs)").fetchone():
            return []
        return [run_row(row) for row in connection.execute(_SQL["sqlite_list_runs"]).fetchall()]
