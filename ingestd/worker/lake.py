"""The lake group of a worker: its cursor, its open files, and when they are committed. Knows no Kafka client.

Its cursor is behind the table's: rows stream into open files while the table commits batch after batch, and a roll
commits them. After a crash the worker reads from the lower cursor, and the table does not see what it has.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import structs

from ingestd.batch import Counts, Outcome, Rows, Tile
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.catalogued import open_catalogued
from ingestd.lake.identity import check_identity
from ingestd.lake.open import open_place
from ingestd.lake.settle import remove_leftovers, settle
from ingestd.lake.writing.writer import LakeWriter
from ingestd.rows import below, cut, only, partitions_of, places
from ingestd.stores.faults import RowsRefused
from ingestd.stores.manifest import LAKE_GROUP, Manifest
from ingestd.stores.open import open_store
from ingestd.stores.store import Claimed, LedgerKey
from ingestd.worker.lanes import WorkerBoard
from ingestd.worker.no_lake import Source
from ingestd.worker.past import DEAD, KEPT, LOST, Fates, Past, fates_of
from ingestd.worker.run import hold_run


class LakeGroup:
    """The lake of one topic as one worker writes it; lives as long as the worker, over many leases.

    Told of every batch that the table group committed (`committed`, see `worker.writer.Follower`); whatever it raises
    ends the lease.
    """

    def __init__(self, config: cfg.Config, pipeline: cfg.Pipeline, lanes: WorkerBoard, log: Any):
        assert pipeline.lake is not None
        # A file takes its place when its commit has returned: that commit must not be lost. It makes those of the table
        # before it durable as well, because a database has one log.
        self._options = structs.replace(config.store, synchronous_commit="on")
        self._pipeline = pipeline
        self._topic = pipeline.topic
        self._start = pipeline.start
        self._store = open_store(self._options, LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP))
        self._place = open_place(pipeline.lake)
        self._lanes = lanes
        self._log = log
        self._manifest: Manifest
        self._writer: LakeWriter
        self._past: Past
        self._epochs: dict[int, int] = {}
        self._topic_ids: dict[int, str] = {}
        self._table: dict[int, int] = {}
        """Where the table group stood at the claim: below, records are of the past."""
        self._replayed: dict[int, int] = {}
        """Below, the table group has decided before, and decides otherwise now; never less than `_table`."""
        self._tiles: dict[int, Tile] = {}
        """The open ones."""
        self._counts: dict[int, Counts] = {}
        self._unsettled: set[int] = set()
        self._is_whole = True
        """False after an error that left open files in an unknown state: they can only be dropped."""

    def claim(
        self, pipeline: cfg.Pipeline, source: Source, table: Sequence[Claimed], topic_id: str
    ) -> dict[int, Claimed]:
        """The lease on the lake's cursors of the partitions that `table` has just claimed, by partition.

        What other leases left committed is settled, and what they left uncommitted is removed. `pipeline` has the
        columns of now. Raises: as `Store.claim`; Halt when the root is not this lake's.
        """
        cursors = {one.partition: one.next_offset for one in table}

        def first_offsets(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
            found = source.start_offsets(new, "earliest") if self._start == "earliest" else cursors
            return {p: (found[p], topic_id) for p in new}

        self._manifest = open_catalogued(self._options, pipeline)
        self._store.prepare()
        with self._store.deciding():
            self._manifest.prepare(self._store.open())
            check_identity(self._place, self._manifest, self._store.open())
        held = {p: epoch for p, epoch in self._epochs.items() if p in cursors}
        claimed = self._store.claim(list(cursors), first_offsets, held)
        self._epochs = {one.partition: one.epoch for one in claimed}
        self._topic_ids = {one.partition: one.topic_id for one in table}
        self._table = cursors
        self._replayed = {one.partition: max(one.next_offset, one.replay_below) for one in table}
        self._settle(list(self._epochs))
        with self._store.deciding():
            connection = self._store.open()
            removed = remove_leftovers(
                self._place, self._manifest, connection, pipeline.name, self._topic, self._epochs
            )
        if removed:
            self._log.info("staged files of an earlier lease removed", files=removed)
        self._begin(pipeline, claimed)
        return {one.partition: one for one in claimed}

    def _begin(self, pipeline: cfg.Pipeline, claimed: Sequence[Claimed]) -> None:
        self._past = Past(self._options, pipeline)
        self._writer = LakeWriter(pipeline, self._place, self._topic)
        self._tiles, self._counts = {}, {}
        for one in claimed:
            self._writer.begin(one.partition, one.next_offset, one.epoch)
            self._open(one.partition, one.next_offset)
            self._lanes.lake_claimed(one.partition, one.next_offset)
        self._is_whole = True

    def _open(self, partition: int, start: int) -> None:
        self._tiles[partition] = Tile(partition, start, start)
        self._counts[partition] = Counts()

    def divide(self, parts: list[Rows]) -> tuple[list[Rows], list[Rows]]:
        """What of consecutive chunks the table has already, and what it has not. Another thread may call it."""
        past, rest = [], []
        for rows in parts:
            if all(tile.start >= self._table[tile.partition] for tile in rows.tiles):
                rest.append(rows)
                continue
            known, above = cut(rows, self._table)
            past += [known] if known.tiles else []
            rest += [above] if above.tiles else []
        return past, rest

    def add_past(self, parts: Sequence[Rows]) -> None:
        """Take what the table had at the claim, by the decisions of then."""
        for rows in parts:
            fates, refused = self._past.fates(rows, self._store, self._topic_ids)
            if refused:
                p, offset = refused[0]
                said = "records that the table took are refused by now, and are not in the lake"
                self._log.error(said, records=len(refused), partition=p, first_offset=offset)
            self._add(rows, fates)

    def written(self, rows: Rows, outcome: Outcome, tx: Any) -> None:
        """Nothing: the lake commits by itself."""

    def committed(self, rows: Rows, outcome: Outcome) -> None:
        """Take what the table group has just let through."""
        fates = fates_of(rows, outcome)
        if any(tile.start < self._replayed[tile.partition] for tile in rows.tiles):
            fates = self._decided_before(rows, np.zeros(len(rows.records), np.int8) if fates is None else fates)
        ends = {p: tile.end for p, tile in self._tiles.items()}
        if any(tile.start < ends[tile.partition] for tile in rows.tiles):
            # The table was rewound; the lake never is.
            above = ~below(*places(rows), ends)
            rows, fates = cut(rows, ends)[1], None if fates is None else fates[above]
        if rows.tiles:
            self._add(rows, fates)

    def _decided_before(self, rows: Rows, fates: Fates) -> Fates:
        """`fates` with the decisions of the past for what the table group sees again."""
        old = below(*places(rows), self._replayed)
        if old.any():
            fates[old], _ = self._past.fates(only(rows, old), self._store, self._topic_ids)
        return fates

    def _add(self, rows: Rows, fates: Fates | None) -> None:
        self._is_whole = False
        partitions = partitions_of(rows) if len(rows.tiles) > 1 else None
        if fates is None:
            self._writer.add(rows, partitions)
        else:
            kept = fates == KEPT
            self._writer.add(only(rows, kept), None if partitions is None else partitions[kept])
        for tile in rows.tiles:
            p = tile.partition
            self._tiles[p] = Tile(p, self._tiles[p].start, tile.end)
            mine = None if partitions is None else partitions == p
            records = len(rows.records) if mine is None else int(np.count_nonzero(mine))
            dead = lost = 0
            if fates is not None:
                of_tile = fates if mine is None else fates[mine]
                dead, lost = (int(np.count_nonzero(of_tile == fate)) for fate in (DEAD, LOST))
            refused = sum(letter.partition == p for letter in rows.dead)
            ignored = sum(partition == p for partition, _ in rows.ignored)
            counts = self._counts[p]
            counts.records += records + refused + ignored
            counts.inserted += records - dead - lost
            counts.duplicates += lost
            counts.dead += dead + refused
            counts.passed += ignored
        self._is_whole = True

    def turn(self) -> None:
        """Commit what is due, and settle what could not be settled before."""
        for partition in self._writer.due(time.monotonic()):
            self._roll(partition)
        if self._unsettled:
            self._settle(sorted(self._unsettled))
        self._lanes.lake_open(self._writer.open_rows)

    def stop(self) -> None:
        """The end of a lease that is no fault of the lake: commit everything, so that nothing has to be read again."""
        for partition, tile in sorted(self._tiles.items()):
            if self._is_whole and tile.end > tile.start:
                self._roll(partition)
        self._lanes.lake_open(0)

    def _roll(self, partition: int) -> None:
        """Seal, commit with the cursor, settle. A crash in between is answered by the next claim."""
        self._is_whole = False
        sealed = self._writer.seal(partition)
        try:
            with self._store.transaction([sealed.tile], self._epochs) as tx:
                if sealed.files:
                    hold_run(self._options, self._pipeline, tx.cursor)
                self._manifest.add(tx.cursor, sealed.files)
                tx.counts[partition] = self._counts[partition]
        except RowsRefused as refused:
            raise Halt(f"{self._place.url}: the manifest does not take the files: {refused}", [partition]) from refused
        self._writer.committed(partition)
        self._open(partition, sealed.tile.end)
        self._is_whole = True
        self._lanes.lake_rolled(sealed.tile, sealed.files)
        if sealed.files:
            rows = sum(file.rows for file in sealed.files)
            self._log.debug("rolled", partition=partition, rows=rows, files=len(sealed.files))
            self._settle([partition])

    def _settle(self, partitions: list[int]) -> None:
        with self._store.deciding():
            connection = self._store.open()
            files = self._manifest.unsettled(connection, self._topic, partitions)
            if settle(self._place, self._manifest, connection, files):
                self._unsettled.difference_update(partitions)
            else:
                self._unsettled.update(partitions)

    def close(self) -> None:
        """The end of a lease, whatever the reason: what is open is dropped, and read again after the next claim."""
        if self._tiles:
            self._writer.discard()
            self._tiles = {}
        self._store.close()
