"""In which order runs are merged, and which one the others wait for. Knows no store and no file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from ingestd.stores.runs import RunRow

_FOREVER = datetime.max.replace(tzinfo=UTC)


class Order(Struct, frozen=True):
    """Runs that may be merged now, oldest first."""

    eras: list[list[str]]
    """Runs of one era overlapped in time (several hosts share the partitions): together they are ordered by offsets."""
    waits: str | None
    """Why later ones must wait; None when there are none."""


def merge_order(runs: Sequence[RunRow], pipeline: str, staged: Collection[str], filled: Collection[str]) -> Order:
    """The order of the runs of `pipeline`; `filled` are those that have files in the bronze lake.

    A later run is never merged before an earlier one: an old value would overwrite a new one.
    """
    eras: list[list[str]] = []
    for era in _eras([run for run in runs if pipeline in run.pipelines]):
        for run in era:
            if not run.finished:
                since = f"since {run.started_at:%Y-%m-%d %H:%M:%S}Z"
                said = f"run {run.run_id} on {run.host} is running {since}; it is merged once it has ended"
                return Order(eras, said if run.run_id in filled else None)
            if run.run_id in filled and run.run_id not in staged:
                said = f"run {run.run_id} is not staged yet; `ingestd lake compact`, then `ingestd lake stage`"
                return Order(eras, said)
        eras.append([run.run_id for run in era])
    return Order(eras, None)


def _eras(runs: Sequence[RunRow]) -> list[list[RunRow]]:
    """Runs in groups that did not overlap, by time."""
    eras: list[list[RunRow]] = []
    until = datetime.min.replace(tzinfo=UTC)
    for run in sorted(runs, key=lambda one: (one.started_at, one.run_id)):
        if not eras or run.started_at >= until:
            eras.append([])
        eras[-1].append(run)
        until = max(until, run.ended_at or _FOREVER)
    return eras
