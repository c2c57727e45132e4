"""Duties: a lake's small files are merged, its old ones removed. Knows no election, no Parquet and no SQL.

Beside the keeper's election each turn takes the lake's lock, which `ingestd lake compact` takes too.
"""

import time
from collections.abc import Sequence

from ingestd.config import options as cfg
from ingestd.lake.merging.cleaning import DAY_SECS, MANIFEST_GRACE_SECS, expire, remove_replaced, remove_stale
from ingestd.lake.merging.compaction import Compactor, batches
from ingestd.lake.merging.finished import finished_values
from ingestd.lake.merging.into import IntoOne
from ingestd.lake.merging.ledger import Busy, Ledger, open_ledger, prepare
from ingestd.lake.merging.merge import Tick
from ingestd.lake.merging.plan import Group
from ingestd.lake.open import open_place
from ingestd.lake.place import Place
from ingestd.logs import get_logger

_ASK_AGAIN_SECS = 5.0
_PERIOD_SECS = 60.0
_STALE_PERIOD_SECS = 3600.0
_TURN_SECS = 5.0
"""Then the other duties have their turn."""

log = get_logger()


class _Lake:
    """What both duties have: the lake's place, and its ledger while a turn lasts."""

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline, tick: Tick):
        assert pipeline.lake is not None
        self.options = options
        self.pipeline = pipeline
        self.lake = pipeline.lake
        self.tick = tick
        self.place: Place = open_place(pipeline.lake)
        self.ledger: Ledger = open_ledger(options, pipeline)
        self._prepared = False

    def prepare(self) -> None:
        if not self._prepared:
            prepare(self.ledger)
            self._prepared = True

    def compactor(self) -> Compactor:
        return Compactor(self.pipeline, self.place, self.ledger, self.tick)


class Compact:
    """Merges what is small, in turns."""

    name = "compact the lake"

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline, tick: Tick):
        self._lake = _Lake(options, pipeline, tick)
        assert self._lake.lake.compact.every is not None
        self._every_secs = float(self._lake.lake.compact.every)
        self._tried: set[int] = set()
        """Files that could not be merged, in this round."""

    def turn(self) -> float:
        """Merge for some seconds; files are small again, or again there, after `compact.every`."""
        self._lake.prepare()
        try:
            with self._lake.ledger.held(self._lake.place.url):
                ended = self._into_one() if self._lake.lake.compact.into is not None else self._merge()
        except Busy:
            return _ASK_AGAIN_SECS
        if not ended:
            return 0.0
        self._tried.clear()
        self._lake.ledger.store.close()
        return self._every_secs

    def _merge(self) -> bool:
        """Whether nothing is left to do."""
        compactor = self._lake.compactor()
        compactor.recover()
        until = time.monotonic() + _TURN_SECS
        for batch in batches([group for group in compactor.plan() if not self._was_tried(group)]):
            if time.monotonic() >= until:
                return False
            done = compactor.run(batch)
            if done.files_before:
                log.info(
                    "lake compacted",
                    lake=self._lake.place.url,
                    files_before=done.files_before,
                    files_after=done.files_after,
                    rows=done.rows,
                    bytes_after=done.bytes_after,
                )
            for said in done.unreadable:
                log.error("lake file not merged", lake=self._lake.place.url, reason=said)
            self._tried.update(file.id for group in batch for file in group.files)
        return True

    def _was_tried(self, group: Group) -> bool:
        return self._tried.issuperset(file.id for file in group.files)

    def _into_one(self) -> bool:
        into = IntoOne(self._lake.pipeline, self._lake.place, self._lake.ledger, self._lake.tick)
        finished = finished_values(self._lake.options, self._lake.pipeline, self._lake.ledger.store)
        until = time.monotonic() + _TURN_SECS
        for unit in into.plan(finished):
            if time.monotonic() >= until:
                return False
            note = into.make(unit)
            log.info("lake compacted into one file", directory=unit.directory, files=len(unit.files), rows=note.rows)
        return True

    def close(self) -> None:
        self._lake.ledger.store.close()


class Clean:
    """Ends compactions that died, and removes what is too old, replaced or left over."""

    name = "clean the lake"

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline, tick: Tick):
        self._lake = _Lake(options, pipeline, tick)
        self._stale_at = 0.0

    def turn(self) -> float:
        """Everything that is due now."""
        self._lake.prepare()
        try:
            with self._lake.ledger.held(self._lake.place.url):
                self._clean(self._lake.place, self._lake.ledger, self._lake.lake)
        except Busy:
            return _ASK_AGAIN_SECS
        self._lake.ledger.store.close()
        return _PERIOD_SECS

    def _clean(self, place: Place, ledger: Ledger, lake: cfg.Lake) -> None:
        self._lake.compactor().recover()
        expired = expire(place, ledger, float(lake.retention)) if lake.retention is not None else 0
        at_once = place.lock is not None and lake.compact.readers == "any"
        removed = remove_replaced(place, ledger, 0.0 if at_once else MANIFEST_GRACE_SECS)
        stale = uploads = 0
        if time.monotonic() >= self._stale_at:
            stale = remove_stale(place, ledger, lake)
            uploads = place.abort_orphaned_uploads(DAY_SECS)
            self._stale_at = time.monotonic() + _STALE_PERIOD_SECS
        if expired or removed or stale or uploads:
            counts = {"expired": expired, "removed": removed, "left_over": stale, "uploads": uploads}
            log.info("lake cleaned", lake=place.url, **counts)

    def close(self) -> None:
        self._lake.ledger.store.close()


def lake_duties(options: cfg.Store, pipeline: cfg.Pipeline, tick: Tick) -> Sequence[Compact | Clean]:
    """The duties of a pipeline with a lake."""
    assert pipeline.lake is not None
    clean = Clean(options, pipeline, tick)
    return [clean, Compact(options, pipeline, tick)] if pipeline.lake.compact.every is not None else [clean]
