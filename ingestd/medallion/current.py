"""The latest row of each key, out of the stage partitions that are not merged yet. Knows no screen.

A merge reads the new stage partitions and those files of the current table that hold a key of theirs, writes these
files anew beside the table, commits the next version in the ledger, and then exchanges the two directories at once. A
crash before the commit leaves nothing; after it, the next start exchanges.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.layout import encode
from ingestd.lake.merging.exchange import exchange, sync_directory
from ingestd.lake.places.faults import faults
from ingestd.logs import get_logger
from ingestd.medallion.merge import Merge, Result
from ingestd.medallion.order import Order
from ingestd.medallion.stage import unit_directory
from ingestd.medallion.tables import current_root, stage_root
from ingestd.medallion.workroom import Workroom, make_durable, move
from ingestd.stores.medallion import COMMITTED, CurrentLedger, CurrentTable, StageUnit
from ingestd.stores.store import Store

VERSION = "_version.json"
"""In the directory of a current table: its version, for whoever finishes a merge that died."""
_OLD = "old-"
_GRACE_SECS = 60.0
"""How long the files of the version before are kept: a reader that was listing the directory must not see it empty."""

log = get_logger()


class Merged(Struct, frozen=True, kw_only=True):
    """One table's merge."""

    table: str
    version: int
    runs: int
    events: int
    rows: int
    """Of the table, after it."""
    stage_bytes: int
    """Of the stage files read."""
    current_bytes: int
    """Of the current table's files read; those without a changed key are not."""
    buckets: int
    touched: int
    missing: int
    """Values that no event ever brought, so null: the stage does not begin with a snapshot."""
    secs: float


class Refused(Struct, frozen=True):
    """A table that cannot be merged, and why; the others are."""

    table: str
    reason: str


class Merger:
    """Makes the current tables of one pipeline; `with` it, so that nobody else does.

    Raises: Retryable (again later; also when another process is at it), Halt.
    """

    def __init__(
        self, pipeline: cfg.Pipeline, store: Store, ledger: CurrentLedger, tick: Callable[[], None] = lambda: None
    ):
        """`tick` is called between the steps of a merge."""
        assert pipeline.medallion is not None
        self._options = pipeline.medallion
        self._stage = stage_root(pipeline)
        self._store = store
        self._ledger = ledger
        self._tick = tick
        self._room = Workroom(current_root(pipeline), self._recover)

    def __enter__(self) -> Merger:
        self._room.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._room.__exit__(*about)

    def merge(self, units: Sequence[StageUnit], order: Order) -> Iterator[Merged | Refused]:
        """Every table that has units in `order` that are not merged, once its new version is in place."""
        eras = {run_id: number for number, era in enumerate(order.eras) for run_id in era}
        for table in sorted({unit.table for unit in units}):
            with self._store.deciding():
                merged = self._ledger.merged(self._store.open(), table)
                before = self._ledger.tables(self._store.open()).get(table) or CurrentTable(table=table)
            own = [unit for unit in units if unit.table == table]
            own.sort(key=lambda unit: (eras.get(unit.run_id, -1), unit.run_id))
            new = [unit for unit in own if unit.run_id in eras and unit.run_id not in merged]
            if not new:
                continue
            late = min(eras[unit.run_id] for unit in new) < max((eras[r] for r in merged if r in eras), default=-1)
            reason = _refusal(own, new, late)
            try:
                yield Refused(table, reason) if reason else self._merge(before, new, eras, _key(own))
            except Halt as halt:
                yield Refused(table, str(halt))

    def _merge(self, before: CurrentTable, new: list[StageUnit], eras: dict[str, int], key: tuple[str, ...]) -> Merged:
        began = time.monotonic()
        version = before.version + 1
        name = _work_name(before.table, version)
        work = self._room.fresh(name)
        made = work / "table"
        made.mkdir()
        stage = {unit.run_id: self._stage_files(unit) for unit in new}
        target = self._directory(before.table)
        merge = Merge(self._options, work, made, before, target, self._tick)
        result = merge.run(stage, eras, key)
        shutil.rmtree(work / "spill", ignore_errors=True)
        with faults(f"{made}: write"):
            (made / VERSION).write_text(json.dumps({"version": version}))
        make_durable(made)
        after = CurrentTable(
            table=before.table,
            version=version,
            state=COMMITTED,
            buckets=result.buckets,
            key_types=result.key_types,
            rows=result.rows,
            nbytes=result.nbytes,
        )
        with self._store.deciding(), self._store.side_transaction() as tx:
            if not self._ledger.publish(tx.cursor, after, [unit.run_id for unit in new]):
                raise Halt(f'table "{before.table}": the ledger has another version than {before.version}; merge again')
        self._settle(after)
        return _told(before, after, new, result, time.monotonic() - began)

    def _stage_files(self, unit: StageUnit) -> list[Path]:
        if not unit.rows:
            return []
        directory = unit_directory(self._stage, unit.table, unit.run_id)
        found = sorted(directory.rglob("*.parquet"))
        if len(found) != unit.files:
            raise Halt(f"{directory}: has {len(found)} files of {unit.files}; restore it from a backup")
        return found

    def _directory(self, table: str) -> Path:
        return self._room.root / encode(table.encode())

    def _recover(self) -> None:
        """Versions that are not known to be in place are put there; what is left over is removed."""
        with self._store.deciding():
            tables = self._ledger.tables(self._store.open())
        for table in tables.values():
            if table.state == COMMITTED:
                self._settle(table)
        now = time.time()
        with faults(str(self._room.path)):
            keep = [
                path.name
                for path in self._room.path.glob(_OLD + "*")
                if now - float(path.name.removeprefix(_OLD).partition("@")[0]) < _GRACE_SECS
            ]
        self._room.sweep(keep)

    def _settle(self, table: CurrentTable) -> None:
        """The version takes its place. Idempotent: what was there is told by its version."""
        name = _work_name(table.table, table.version)
        made, target = self._room.path / name / "table", self._directory(table.table)
        if _version(target) != table.version:
            if target.exists():
                exchange(made, target)
            else:
                move(made, target)
        with faults(str(self._room.path)):
            if (self._room.path / name).exists():
                os.rename(self._room.path / name, self._room.path / f"{_OLD}{time.time():.3f}@{name}")
                sync_directory(self._room.path)
        with self._store.deciding():
            self._ledger.settle(self._store.open(), table)


def _version(directory: Path) -> int | None:
    try:
        return int(json.loads((directory / VERSION).read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _work_name(table: str, version: int) -> str:
    return f"{encode(table.encode(), 150)}@{version}"


def _key(units: Sequence[StageUnit]) -> tuple[str, ...]:
    """The primary key, as the newest unit that has a keyed event knows it."""
    return next((unit.key for unit in reversed(units) if unit.key), ())


def _refusal(own: list[StageUnit], new: list[StageUnit], late: bool) -> str | None:
    """Why the new units of a table cannot be merged; None when they can."""
    if late:
        return "a run is older than one that is merged already; its events would come too late"
    if not _key(own) and any(unit.rows > unit.truncates for unit in new):
        return "it has no primary key; name one in [[pipeline.medallion.table]]"
    partitions = sorted({int(name) for unit in own for name in unit.partitions})
    truncating = [unit for unit in new if unit.truncates]
    if truncating and len(partitions) > 1:
        return (
            f"it was truncated in run {truncating[0].run_id}, and {truncating[0].topic} has partitions"
            f" {', '.join(map(str, partitions))}: which rows came before has no order; give the topic one partition"
        )
    return None


def _told(before: CurrentTable, after: CurrentTable, new: list[StageUnit], result: Result, secs: float) -> Merged:
    return Merged(
        table=before.table,
        version=after.version,
        runs=len(new),
        events=sum(unit.rows for unit in new),
        rows=after.rows,
        stage_bytes=result.stage_bytes,
        current_bytes=result.current_bytes,
        buckets=after.buckets,
        touched=result.touched,
        missing=result.missing,
        secs=secs,
    )
