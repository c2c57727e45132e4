"""Compacted events become typed stage tables, run by run. Knows no screen and no merge.

One unit of work is one run's events of one table: its files are made in the workroom, counted in the ledger, and then
renamed into the table as one directory. A crash before the commit leaves nothing; after it, the next start renames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, structs

from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.errors import Halt
from ingestd.lake.layout import encode
from ingestd.logs import get_logger
from ingestd.medallion.bronze import BronzeFile
from ingestd.medallion.events import EventDecoder, MakeDecoder, Part
from ingestd.medallion.stage_files import StageFiles, write_dead
from ingestd.medallion.tables import TableOf, stage_root, tables_of
from ingestd.medallion.workroom import Workroom, make_durable, move
from ingestd.stores.medallion import COMMITTED, StagedRun, StageLedger, StageUnit
from ingestd.stores.store import Store

DEAD_LETTERS = "_dead_letters"
_ROWS = "rows"
_DEAD = "dead"
_MOST_DEAD = 10_000
"""Letters of a unit held in memory; beyond it they go to another file."""

log = get_logger()


class Compacted(Struct, frozen=True):
    """One run whose events are compacted."""

    run_id: str
    path: Path


def unit_directory(root: Path, table: str, run_id: str) -> Path:
    """Where the files of one run are in a stage table."""
    return root / encode(table.encode()) / f"run_id={encode(run_id.encode())}"


class Stager:
    """Makes the stage tables of one pipeline; `with` it, so that nobody else does.

    Raises: Retryable (again later; also when another process is at it), Halt.
    """

    def __init__(
        self,
        pipeline: cfg.Pipeline,
        store: Store,
        ledger: StageLedger,
        tick: Callable[[], None] = lambda: None,
        make: MakeDecoder = make_decoder,
    ):
        """`tick` is called again and again while events are read."""
        self._pipeline = pipeline
        self._store = store
        self._ledger = ledger
        self._tick = tick
        self._make = make
        self._room = Workroom(stage_root(pipeline), self._recover)

    def __enter__(self) -> Stager:
        self._room.__enter__()
        return self

    def __exit__(self, *about: Any) -> None:
        self._room.__exit__(*about)

    def stage(self, run: Compacted) -> Iterator[StageUnit]:
        """Every table's unit of this run that is not there yet, once it is in place; then the run itself is staged."""
        with self._store.deciding():
            if run.run_id in self._ledger.runs(self._store.open()):
                return
            units = self._ledger.units(self._store.open())
        done = {unit.table: unit for unit in units if unit.run_id == run.run_id}
        bronze = BronzeFile(self._pipeline, run.path)
        try:
            counted = bronze.topics()
            tables = tables_of(self._pipeline, counted, {unit.table: unit.topic for unit in units})
            for table in tables:
                if table.name not in done:
                    unit = self._make_unit(bronze, table, run.run_id, counted[table.topic])
                    self._settle(unit)
                    yield unit
        finally:
            bronze.close()
        unread = counted.total() - sum(counted[table.topic] for table in tables)
        with self._store.deciding():
            staged = StagedRun(run_id=run.run_id, events=counted.total(), unread=unread)
            self._ledger.add_run(self._store.open(), staged)

    def _make_unit(self, bronze: BronzeFile, table: TableOf, run_id: str, events: int) -> StageUnit:
        work = self._room.fresh(_work_name(table.name, run_id))
        making = _Making(work, table, run_id, events)
        decoder = EventDecoder(self._pipeline, table, run_id, self._make)
        for chunk in bronze.chunks(table.topic):
            self._tick()
            making.note(chunk)
            for part in decoder.parts(chunk):
                making.add(part)
        unit = making.unit(decoder.key)
        unit = structs.replace(unit, nbytes=make_durable(work))
        with self._store.deciding(), self._store.side_transaction() as tx:
            self._ledger.add(tx.cursor, unit)
        return unit

    def _recover(self) -> None:
        """Units whose files are not known to be in place are put there; leftovers are removed."""
        with self._store.deciding():
            unsettled = [unit for unit in self._ledger.units(self._store.open()) if unit.state == COMMITTED]
        for unit in unsettled:
            self._settle(unit)
        self._room.sweep(())

    def _settle(self, unit: StageUnit) -> None:
        work = self._room.path / _work_name(unit.table, unit.run_id)
        if unit.rows:
            move(work / _ROWS, unit_directory(self._room.root, unit.table, unit.run_id))
        if unit.dead:
            move(work / _DEAD, unit_directory(self._room.root / DEAD_LETTERS, unit.table, unit.run_id))
        with self._store.deciding():
            self._ledger.settle(self._store.open(), unit)


def _work_name(table: str, run_id: str) -> str:
    return f"{encode(table.encode(), 120)}@{encode(run_id.encode())}"


class _Making:
    """One unit while it is made: its files, and what became of its events."""

    def __init__(self, work: Path, table: TableOf, run_id: str, events: int):
        self._work = work
        self._table = table
        self._run_id = run_id
        self._events = events
        self._files = StageFiles(work / _ROWS, table.name, table.options)
        self._letters: list[dict[str, Any]] = []
        self._partitions: dict[str, tuple[int, int]] = {}
        self._dead = self._ignored = self._truncates = self._dead_files = 0

    def note(self, chunk: list[Any]) -> None:
        """The places of these events."""
        for event in chunk:
            start, end = self._partitions.get(str(event.at_partition), (event.at_offset, event.at_offset))
            place = min(start, event.at_offset), max(end, event.at_offset + 1)
            self._partitions[str(event.at_partition)] = place

    def add(self, part: Part) -> None:
        if part.rows is not None and part.rows.num_rows:
            self._files.add(part.columns, part.rows)
        self._letters += [self._letter(one) for one in part.dead]
        self._dead += len(part.dead)
        self._ignored += part.ignored
        self._truncates += part.truncates
        if len(self._letters) >= _MOST_DEAD:
            self._write_dead()

    def unit(self, key: tuple[str, ...]) -> StageUnit:
        """All files are closed. Raises: Halt when an event is in no place, or in two: a defect."""
        self._files.close()
        self._write_dead()
        placed = self._files.rows + self._dead + self._ignored
        if placed != self._events:
            raise Halt(
                f"{self._table.topic}, run {self._run_id}: of {self._events} events {placed} are accounted for; "
                "this is a defect of ingestd, nothing was staged: please report it"
            )
        return StageUnit(
            run_id=self._run_id,
            table=self._table.name,
            topic=self._table.topic,
            events=self._events,
            rows=self._files.rows,
            dead=self._dead,
            ignored=self._ignored,
            truncates=self._truncates,
            files=self._files.files,
            nbytes=0,
            partitions=self._partitions,
            key=key,
        )

    def _letter(self, one: Any) -> dict[str, Any]:
        event = one.event
        return {
            "topic": self._table.topic,
            "partition": event.at_partition,
            "offset": event.at_offset,
            "ts": None if event.at_ms < 0 else event.at_ms * 1000,
            "run_id": self._run_id,
            "key": event.of_key,
            "value": event.document,
            "column": one.column,
            "reason": one.reason,
        }

    def _write_dead(self) -> None:
        if self._letters:
            write_dead(self._work / _DEAD / f"dead-{self._dead_files:05d}.parquet", self._letters)
            self._dead_files += 1
            self._letters = []
