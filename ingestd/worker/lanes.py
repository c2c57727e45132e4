"""What a worker writes on the board for its partitions. Knows no Kafka and no database."""

import time
from bisect import bisect_left
from collections.abc import Sequence

from ingestd.batch import Counts, Rows, Tile
from ingestd.board import AGE_BUCKETS_SECS, Board, Lane, LaneState, write_text
from ingestd.sinks.ladder import Way
from ingestd.stores.manifest import LakeFile
from ingestd.stores.store import Transaction
from ingestd.worker.reader import Handoff

_WAY_CELLS = {
    Way.DIRECT: Lane.DIRECT_BATCHES,
    Way.STAGED: Lane.STAGED_BATCHES,
    Way.SIFTED: Lane.SCREENED_BATCHES,
    Way.SCREENED: Lane.SCREENED_BATCHES,
    Way.LOOPED: Lane.LOOPED_BATCHES,
}


class WorkerBoard:
    """The lanes of one worker. Stage times of a batch over several partitions are shared out by records."""

    def __init__(self, board: Board, lanes: dict[int, int]):
        self._board = board
        self._lanes = lanes
        self._seen = (0, 0, 0)

    def claimed(self, partition: int, next_offset: int, epoch: int) -> None:
        """A lease began: the cursor is known and reading starts."""
        lane = self._lanes[partition]
        self._board.set(lane, Lane.NEXT_OFFSET, next_offset)
        self._board.set(lane, Lane.EPOCH, epoch)
        self.state(partition, LaneState.RUNNING)

    def state(self, partition: int, state: LaneState, text: str = "") -> None:
        """Set the state; `text` says why it retries or halted."""
        lane = self._lanes[partition]
        write_text(self._board, lane, text)
        self._board.set(lane, Lane.STATE, state)
        if state is LaneState.RETRYING:
            self._board.add(lane, Lane.RETRIES, 1)
        if state is not LaneState.RUNNING:
            self._board.set(lane, Lane.QUEUED_ROWS, 0)
            self._board.set(lane, Lane.QUEUED_BYTES, 0)

    def queued(self, handoff: Handoff) -> None:
        """Queue and backpressure as they are now; they belong to the worker and show on its first partition.

        Called from the reader thread, which alone writes these cells.
        """
        lane = next(iter(self._lanes.values()))
        pauses, paused_ns, decode_ns = self._seen
        self._seen = (handoff.pauses, handoff.paused_ns, handoff.decode_ns)
        self._board.set(lane, Lane.QUEUED_ROWS, handoff.rows)
        self._board.set(lane, Lane.QUEUED_BYTES, handoff.nbytes)
        self._board.add(lane, Lane.PAUSES, handoff.pauses - pauses)
        self._board.add(lane, Lane.BACKPRESSURE_NS, handoff.paused_ns - paused_ns)
        self._board.add(lane, Lane.DECODE_NS, handoff.decode_ns - decode_ns)
        self._board.set(lane, Lane.LAST_DECODE_NS, handoff.decode_ns - decode_ns)

    def new_handoff(self) -> None:
        """A lease began with a fresh handoff: its counters start at 0."""
        self._seen = (0, 0, 0)

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None:
        """Count a committed batch."""
        now_ns = time.time_ns()
        total = sum(count.records for count in counts.values()) or 1
        newest_ms = (
            rows.records[-1].timestamp()[1] if rows.records else max((d.timestamp_ms for d in rows.dead), default=0)
        )
        for tile in rows.tiles:
            count, lane = counts[tile.partition], self._lanes[tile.partition]
            share = count.records / total
            self._board.set(lane, Lane.NEXT_OFFSET, tile.end)
            for cell, amount in (
                (Lane.RECORDS, count.records),
                (Lane.INSERTED, count.inserted),
                (Lane.UPDATED, count.updated),
                (Lane.STALE, count.stale),
                (Lane.FOLDED, count.folded),
                (Lane.DUPLICATES, count.duplicates),
                (Lane.DELETED, count.deleted),
                (Lane.PASSED, count.passed),
                (Lane.DEAD, count.dead),
                (Lane.BYTES, int(rows.nbytes * share)),
                (Lane.BATCHES, 1),
                (Lane.ENCODE_NS, int(encode_ns * share)),
                (Lane.WRITE_NS, int(tx.write_ns * share)),
                (Lane.COMMIT_NS, int(tx.commit_ns * share)),
                (_WAY_CELLS[way], 1),
            ):
                self._board.add(lane, cell, amount)
            self._board.set(lane, Lane.LAST_COMMIT_NS, now_ns)
            self._board.set(lane, Lane.LAST_BATCH_ROWS, count.records)
            self._board.set(lane, Lane.LAST_ENCODE_NS, encode_ns)
            self._board.set(lane, Lane.LAST_WRITE_NS, tx.write_ns)
            self._board.set(lane, Lane.LAST_COMMIT_STAGE_NS, tx.commit_ns)
            if count.records and newest_ms > 0:
                self._age(lane, newest_ms, now_ns)

    def lake_claimed(self, partition: int, next_offset: int) -> None:
        """The lake's cursor is known."""
        self._board.set(self._lanes[partition], Lane.LAKE_OFFSET, next_offset)

    def lake_open(self, rows: int) -> None:
        """Rows of the worker that are in no committed file."""
        self._board.set(next(iter(self._lanes.values())), Lane.LAKE_OPEN_ROWS, rows)

    def lake_rolled(self, tile: Tile, files: Sequence[LakeFile]) -> None:
        """Count the files of a commit."""
        lane = self._lanes[tile.partition]
        self._board.set(lane, Lane.LAKE_OFFSET, tile.end)
        self._board.add(lane, Lane.LAKE_FILES, len(files))
        self._board.add(lane, Lane.LAKE_ROWS, sum(file.rows for file in files))
        self._board.add(lane, Lane.LAKE_BYTES, sum(file.nbytes for file in files))
        if files:
            self._board.set(lane, Lane.LAKE_ROLLED_NS, time.time_ns())

    def _age(self, lane: int, newest_ms: int, now_ns: int) -> None:
        age_ns = max(0, now_ns - newest_ms * 1_000_000)
        self._board.set(lane, Lane.LAST_RECORD_MS, newest_ms)
        self._board.add(lane, Lane.AGE_COUNT, 1)
        self._board.add(lane, Lane.AGE_SUM_NS, age_ns)
        bucket = bisect_left(AGE_BUCKETS_SECS, age_ns / 1e9)
        self._board.add(lane, Lane.AGE_BUCKET_0 + bucket, 1)
