"""The runs in the store: which executions of `ingestd run` there were, and whether they are over. Knows no database.

`ingestd.stores.postgres.runs` and `ingestd.stores.sqlite.runs` are the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from ingestd.errors import Halt
from ingestd.run_id import Run, is_alive

RUNNING = "running"
ENDED = "ended"
CRASHED = "crashed"
"""Its process is gone and had not said goodbye."""

Counts = Mapping[str, Mapping[str, int]]
"""By pipeline what the run read and wrote: records, dead, bytes, lake_rows, lake_files."""


class RunRow(Struct, frozen=True):
    """One run as the store knows it."""

    run_id: str
    started_at: datetime
    """Both times by the store's clock, which all hosts share; in UTC."""
    ended_at: datetime | None
    status: str
    host: str
    pid: int
    pid_start: str
    pipelines: list[str]
    counts: dict[str, dict[str, int]]

    @property
    def finished(self) -> bool:
        """Whether no file of this run will come any more: `Runs.hold` refuses it."""
        return self.status != RUNNING


class Runs(Protocol):
    """The runs of all hosts. `connection` is as the store opens it, and the method commits; `cursor` is an open
    transaction's."""

    def prepare(self, connection: Any) -> None:
        """Create the table when it is missing. Raises: Halt with the statement when this role may not."""
        ...

    def begin(self, connection: Any, run: Run, pipelines: Sequence[str]) -> None:
        """`run` is running; nothing when it is there already."""
        ...

    def end(self, connection: Any, run_id: str, status: str, counts: Counts | None = None) -> bool:
        """A running one is over now; whether it was running."""
        ...

    def hold(self, cursor: Any, run_id: str) -> None:
        """Before files of the run are committed, in their transaction: `end` waits until it is over.

        Raises: Halt when the run is over, or unknown.
        """
        ...

    def list(self, connection: Any) -> list[RunRow]:
        """All runs, the oldest first."""
        ...


def begin_run(runs: Runs, connection: Any, run: Run, pipelines: Sequence[str]) -> list[str]:
    """`run` is in the store, and the runs of this host whose process is gone are over; the ids of those.

    Called by whoever opens the store first, and again at will.
    """
    runs.prepare(connection)
    known = runs.list(connection)
    crashed = [
        row.run_id
        for row in known
        if row.status == RUNNING
        and row.host == run.host
        and row.run_id != run.run_id
        and not is_alive(Run(row.run_id, row.host, row.pid, row.pid_start))
    ]
    ended = [run_id for run_id in crashed if runs.end(connection, run_id, CRASHED)]
    if run.run_id not in {row.run_id for row in known}:
        runs.begin(connection, run, pipelines)
    return ended


def run_row(row: Sequence[Any]) -> RunRow:
    """What the statement `list_runs` gives, in either store."""
    run_id, started_at, ended_at, status, host, pid, pid_start, pipelines, counts = row
    return RunRow(
        run_id,
        _moment(started_at),
        None if ended_at is None else _moment(ended_at),
        status,
        host,
        pid,
        pid_start,
        pipelines.split(","),
        msgspec.json.decode(counts) if counts else {},
    )


def run_values(run: Run, pipelines: Sequence[str]) -> dict[str, Any]:
    """The values of the statement `begin_run`."""
    return {**msgspec.structs.asdict(run), "pipelines": ",".join(pipelines)}


def counts_text(counts: Counts | None) -> str | None:
    return None if counts is None else msgspec.json.encode(counts).decode()


def require_running(status: str | None, run_id: str) -> None:
    """Raises: Halt when the run of the files that are about to be committed is over."""
    if status != RUNNING:
        said = "is not known to the store" if status is None else f"is marked {status}"
        raise Halt(f"run {run_id} {said}, so its files may be compacted already; restart the daemon: it begins another")


def _moment(value: Any) -> datetime:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found.astimezone(UTC)
