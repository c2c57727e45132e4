"""Bronze, stage and current of one pipeline, put together over its store. Knows no screen and no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from ingestd.config import options as cfg
from ingestd.errors import ConfigError
from ingestd.lake.layout import hive_values
from ingestd.medallion.current import Merged, Merger, Refused
from ingestd.medallion.order import Order, merge_order
from ingestd.medallion.stage import Compacted, Stager
from ingestd.stores.manifest import LAKE_GROUP
from ingestd.stores.medallion import CurrentLedger, CurrentTable, StagedRun, StageLedger, StageUnit
from ingestd.stores.open import open_manifest, open_medallion, open_runs, open_store
from ingestd.stores.runs import RunRow
from ingestd.stores.store import LedgerKey

COMPACTED = "events_compacted.parquet"

Tick = Callable[[], None]


class Standing(Struct, frozen=True):
    """How far each run of a pipeline has come."""

    runs: list[RunRow]
    filled: set[str]
    """Ids of the runs with files in the bronze lake."""
    compacted: dict[str, Path]
    """By id the file of each compacted run."""
    staged: dict[str, StagedRun]
    units: list[StageUnit]
    tables: dict[str, CurrentTable]


class Chain:
    """Opens nothing until it is used. Raises: what `Store` raises."""

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline):
        if pipeline.medallion is None or pipeline.lake is None:
            raise ConfigError(
                [f"pipeline {pipeline.name}: has no [pipeline.medallion], so no stage and current tables"]
            )
        self._pipeline = pipeline
        self._lake = pipeline.lake
        # A directory takes its place when its commit has returned: that commit must not be lost.
        options = structs.replace(options, synchronous_commit="on")
        self._store = open_store(options, LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP))
        self._statements = open_medallion(options)
        self._runs = open_runs(options)
        self._manifest = open_manifest(options, pipeline)
        self._stage = StageLedger(self._statements, pipeline.name)
        self._current = CurrentLedger(self._statements, pipeline.name)
        self._prepared = False

    def standing(self) -> Standing:
        """As of now."""
        self._prepare()
        with self._store.deciding():
            connection = self._store.open()
            return Standing(
                self._runs.list(connection),
                {run_id for file in self._manifest.files(connection) if (run_id := self._run_of(file.directory))},
                self._compacted(),
                self._stage.runs(connection),
                self._stage.units(connection),
                self._current.tables(connection),
            )

    def stage(self, run_id: str | None = None, tick: Tick = lambda: None) -> Iterator[StageUnit]:
        """Each new unit, once it is in place: of every run that is compacted, or of one. Nothing when all is done."""
        standing = self.standing()
        waiting = [one for one in standing.compacted if one not in standing.staged and run_id in (None, one)]
        if not waiting and not any(unit.state != "settled" for unit in standing.units):
            return
        with Stager(self._pipeline, self._store, self._stage, tick) as stager:
            for one in sorted(waiting):
                yield from stager.stage(Compacted(one, standing.compacted[one]))

    def order(self) -> Order:
        """Which runs may be merged, and what the others wait for."""
        standing = self.standing()
        return merge_order(standing.runs, self._pipeline.name, standing.staged.keys(), standing.filled)

    def current(self, tick: Tick = lambda: None) -> Iterator[Merged | Refused]:
        """Each table that has new events, once its new version is in place."""
        order = self.order()
        with Merger(self._pipeline, self._store, self._current, tick) as merger:
            yield from merger.merge(self.standing().units, order)

    def end_run(self, run_id: str, status: str) -> bool:
        """Mark a run over whose host is gone for good; whether it was running."""
        self._prepare()
        with self._store.deciding():
            return self._runs.end(self._store.open(), run_id, status)

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def close(self) -> None:
        self._store.close()

    def _prepare(self) -> None:
        if not self._prepared:
            self._store.prepare()
            with self._store.deciding():
                for one in (self._statements, self._runs, self._manifest):
                    one.prepare(self._store.open())
            self._prepared = True

    def _compacted(self) -> dict[str, Path]:
        into = self._lake.compact.into
        found = {}
        for path in Path(into).glob(f"*/{COMPACTED}") if into else ():
            if run_id := self._run_of(path.parent.name):
                found[run_id] = path
        return found

    def _run_of(self, directory: str) -> str | None:
        """The run in the name of a directory of the lake."""
        value = hive_values(directory.partition("/")[0]).get(self._lake.partition_by[0])
        return value.decode() if value else None
