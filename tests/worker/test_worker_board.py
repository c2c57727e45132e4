"""What a worker tells the board."""

import time

import pyarrow as pa

from ingestd.batch import Counts, Rows, Tile
from ingestd.board import Board, Lane, LaneState, read_text, take_lane
from ingestd.config import options as cfg
from ingestd.sinks.ladder import Way
from ingestd.stores.store import Transaction
from ingestd.worker.lanes import WorkerBoard
from ingestd.worker.reader import Handoff
from tests.sinks.contracts import MemoryRecord

_EMPTY = pa.record_batch({"id": pa.array([], pa.int32())})


def _lanes() -> tuple[Board, dict[int, int], WorkerBoard]:
    board = Board()
    lanes = {partition: take_lane(board, 0, "t", partition) for partition in (4, 7)}
    return board, lanes, WorkerBoard(board, lanes)


def _transaction(write_ns: int, commit_ns: int) -> Transaction:
    return Transaction(None, {}, write_ns=write_ns, commit_ns=commit_ns)


def test_committed_batch_is_counted_by_partition() -> None:
    board, lanes, told = _lanes()
    now_ms = int(time.time() * 1000)
    rows = Rows([Tile(4, 0, 12), Tile(7, 5, 6)], _EMPTY, [MemoryRecord(b"", 0, 7, time_ms=now_ms)], [], 1_300)
    counts = {4: Counts(records=12, inserted=9, duplicates=1, dead=2), 7: Counts(records=1, inserted=1)}
    told.committed(rows, counts, Way.STAGED, 130, _transaction(260, 26))
    first, second = board.lane(lanes[4]), board.lane(lanes[7])
    wanted = (Lane.NEXT_OFFSET, Lane.RECORDS, Lane.INSERTED, Lane.DUPLICATES, Lane.DEAD, Lane.BYTES, Lane.BATCHES)
    assert [first[cell] for cell in wanted] == [12, 12, 9, 1, 2, 1_200, 1]
    assert [second[cell] for cell in wanted] == [6, 1, 1, 0, 0, 100, 1]
    assert [first[cell] for cell in (Lane.ENCODE_NS, Lane.WRITE_NS, Lane.COMMIT_NS)] == [120, 240, 24]
    assert [first[cell] for cell in (Lane.STAGED_BATCHES, Lane.DIRECT_BATCHES)] == [1, 0]
    buckets = first[Lane.AGE_BUCKET_0 : Lane.AGE_BUCKET_0 + 11]
    assert sum(buckets) == first[Lane.AGE_COUNT] == 1
    assert first[Lane.LAST_RECORD_MS] == now_ms


def test_empty_tile_moves_the_offset_and_counts_no_age() -> None:
    board, lanes, told = _lanes()
    told.committed(Rows([Tile(4, 3, 9)], _EMPTY, [], [], 0), {4: Counts()}, Way.DIRECT, 1, _transaction(1, 1))
    lane = board.lane(lanes[4])
    assert [lane[cell] for cell in (Lane.NEXT_OFFSET, Lane.RECORDS, Lane.AGE_COUNT)] == [9, 0, 0]


def test_state_says_why_and_clears_the_queue() -> None:
    board, lanes, told = _lanes()
    told.claimed(4, 100, 3)
    board.set(lanes[4], Lane.QUEUED_ROWS, 5)
    assert board.get(lanes[4], Lane.STATE) == LaneState.RUNNING
    told.state(4, LaneState.RETRYING, "the database is away")
    assert board.get(lanes[4], Lane.QUEUED_ROWS) == 0
    assert (board.get(lanes[4], Lane.RETRIES), read_text(board, lanes[4])) == (1, "the database is away")
    told.claimed(4, 100, 4)
    assert (board.get(lanes[4], Lane.EPOCH), read_text(board, lanes[4])) == (4, "")


def test_counters_of_the_queue_go_on_over_leases() -> None:
    board, lanes, told = _lanes()
    for _ in range(2):
        told.new_handoff()
        handoff = Handoff(cfg.Batch())
        for pauses in (1, 3):
            handoff.pauses, handoff.paused_ns = pauses, pauses * 10
            told.queued(handoff)
    assert board.get(lanes[4], Lane.PAUSES) == 6
    assert board.get(lanes[4], Lane.BACKPRESSURE_NS) == 60
