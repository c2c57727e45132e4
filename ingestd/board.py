"""The board: one anonymous shared mapping, made before the fork, in which every child writes its own cells.

Cells are aligned 8-byte integers with one writer each, so nobody locks; readers may see a batch half
counted, never a torn number. Knows nothing of Kafka, databases or HTTP.
"""

import mmap
import time
from enum import IntEnum

SLOTS = 512
LANES = 8192
LANE_CELLS = 64
TEXT_BYTES = 1024
TOPIC_BYTES = 256
"""Kafka allows 249 for a name; a shorter one is filled up with zeros."""


class Slot(IntEnum):
    """Slots of the fixed children; workers take those from `FIRST_WORKER` on."""

    MEMBERSHIP = 0
    STATUS = 1
    KEEPER = 2
    FIRST_WORKER = 8


class SlotCell(IntEnum):
    PID = 0
    STARTED_NS = 1
    BEAT_NS = 2
    """Monotonic; written by the child's work loop itself, never by a side thread."""
    RSS_BYTES = 3


class LaneState(IntEnum):
    """State of one partition of one pipeline on this host."""

    UNASSIGNED = 0
    CLAIMING = 1
    RUNNING = 2
    RETRYING = 3
    HALTED = 4
    RELEASED = 5


AGE_BUCKETS_SECS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


class Lane(IntEnum):
    """Cells of a lane: one partition of one pipeline. Written by the worker unless said otherwise.

    Counters only grow, also over a worker's death: the mapping belongs to the supervisor.
    """

    PIPELINE = 0
    """Index in the configuration. PIPELINE, PARTITION, TAKEN and the topic's name: written by the supervisor."""
    PARTITION = 1
    TAKEN = 2
    """1 when the lane is in use."""
    LOG_END = 3
    """Last stable offset of the partition. LOG_END, LOG_END_AT_NS: written by the membership."""
    LOG_END_AT_NS = 4
    STATE = 5
    EPOCH = 6
    NEXT_OFFSET = 7
    """The committed cursor; -1 before the first claim."""
    RECORDS = 8
    """Delivered: inserted, updated, stale, folded, duplicates, deleted, passed and dead together."""
    BYTES = 9
    INSERTED = 10
    DUPLICATES = 11
    DEAD = 12
    BATCHES = 13
    LAST_COMMIT_NS = 14
    """Wall clock, ns."""
    LAST_RECORD_MS = 15
    """Kafka timestamp of the newest committed record, ms."""
    RETRIES = 16
    PAUSES = 17
    """How often reading stopped because the writer was behind."""
    BACKPRESSURE_NS = 18
    QUEUED_ROWS = 19
    QUEUED_BYTES = 20
    DECODE_NS = 21
    ENCODE_NS = 22
    """Join, sort and binary encoding of a batch."""
    WRITE_NS = 23
    """COPY, INSERT, dead letters and cursor statements."""
    COMMIT_NS = 24
    DIRECT_BATCHES = 25
    STAGED_BATCHES = 26
    SCREENED_BATCHES = 27
    LOOPED_BATCHES = 28
    LAST_BATCH_ROWS = 29
    LAST_DECODE_NS = 30
    LAST_ENCODE_NS = 31
    LAST_WRITE_NS = 32
    LAST_COMMIT_STAGE_NS = 33
    AGE_COUNT = 34
    AGE_SUM_NS = 35
    AGE_BUCKET_0 = 36
    """First of len(AGE_BUCKETS_SECS) + 1 cells, not cumulative: age of a batch's newest record at its commit."""
    TEXT_SEQ = 48
    """Odd while the text is being written."""
    TEXT_LEN = 49
    UPDATED = 50
    STALE = 51
    FOLDED = 52
    DELETED = 53
    PASSED = 54
    LAKE_OFFSET = 55
    """The lake's committed cursor; -1 before its first claim, and where the pipeline has no lake."""
    LAKE_OPEN_ROWS = 56
    """Rows in files that are not committed; they belong to the worker and show on its first partition."""
    LAKE_FILES = 57
    """Files committed, rows in them and their bytes."""
    LAKE_ROWS = 58
    LAKE_BYTES = 59
    LAKE_ROLLED_NS = 60
    """When files were committed last. Wall clock, ns."""


class Board:
    """Shared cells; create before the fork, use from every child. See `Lane` and `SlotCell`."""

    def __init__(self) -> None:
        slots_bytes = SLOTS * 8 * 8
        lanes_bytes = LANES * LANE_CELLS * 8
        texts_end = slots_bytes + lanes_bytes + LANES * TEXT_BYTES
        self._map = mmap.mmap(-1, texts_end + LANES * TOPIC_BYTES)
        view = memoryview(self._map)
        self._slots = view[:slots_bytes].cast("q")
        self._lanes = view[slots_bytes : slots_bytes + lanes_bytes].cast("q")
        self.texts = view[slots_bytes + lanes_bytes : texts_end]
        """TEXT_BYTES a lane; use `write_text` and `read_text`."""
        self.topics = view[texts_end:]
        """TOPIC_BYTES a lane, written once; use `read_topic`."""

    def beat(self, slot: int) -> None:
        """Say "alive and working"; called from the child's work loop."""
        self._slots[slot * 8 + SlotCell.BEAT_NS] = time.monotonic_ns()

    def slot(self, slot: int, cell: SlotCell) -> int:
        return self._slots[slot * 8 + cell]

    def set_slot(self, slot: int, cell: SlotCell, value: int) -> None:
        self._slots[slot * 8 + cell] = value

    def get(self, lane: int, cell: int) -> int:
        return self._lanes[lane * LANE_CELLS + cell]

    def set(self, lane: int, cell: int, value: int) -> None:
        self._lanes[lane * LANE_CELLS + cell] = value

    def add(self, lane: int, cell: int, amount: int) -> None:
        self._lanes[lane * LANE_CELLS + cell] += amount

    def lane(self, lane: int) -> list[int]:
        """All cells of a lane, copied; index with `Lane`."""
        return self._lanes[lane * LANE_CELLS : (lane + 1) * LANE_CELLS].tolist()

    def taken_lanes(self) -> list[int]:
        """Lanes in use, in the order they were taken."""
        lanes = []
        for lane in range(LANES):
            if not self.get(lane, Lane.TAKEN):
                break
            lanes.append(lane)
        return lanes


def take_lane(board: Board, pipeline: int, topic: str, partition: int) -> int:
    """The lane of this partition, made when it is new. Supervisor only.

    Raises: OverflowError when all lanes are taken.
    """
    for lane in range(LANES):
        if not board.get(lane, Lane.TAKEN):
            name = topic.encode()[:TOPIC_BYTES]
            board.topics[lane * TOPIC_BYTES : lane * TOPIC_BYTES + len(name)] = name
            board.set(lane, Lane.PIPELINE, pipeline)
            board.set(lane, Lane.PARTITION, partition)
            board.set(lane, Lane.NEXT_OFFSET, -1)
            board.set(lane, Lane.LAKE_OFFSET, -1)
            board.set(lane, Lane.LOG_END, -1)
            board.set(lane, Lane.TAKEN, 1)
            return lane
        place = (board.get(lane, Lane.PIPELINE), board.get(lane, Lane.PARTITION))
        if place == (pipeline, partition) and read_topic(board, lane) == topic:
            return lane
    raise OverflowError(f"more than {LANES} partitions on one host")


def read_topic(board: Board, lane: int) -> str:
    """The topic of a lane that is taken."""
    start = lane * TOPIC_BYTES
    return bytes(board.topics[start : start + TOPIC_BYTES]).partition(b"\0")[0].decode()


def write_text(board: Board, lane: int, text: str) -> None:
    """Replace the lane's text (why it retries or halted); cut at 1,024 bytes of UTF-8."""
    raw = text.encode("utf-8", "replace")[:TEXT_BYTES]
    board.add(lane, Lane.TEXT_SEQ, 1)
    start = lane * TEXT_BYTES
    board.texts[start : start + len(raw)] = raw
    board.set(lane, Lane.TEXT_LEN, len(raw))
    board.add(lane, Lane.TEXT_SEQ, 1)


def read_text(board: Board, lane: int) -> str:
    """The lane's text, or "" while it is being replaced."""
    before = board.get(lane, Lane.TEXT_SEQ)
    start = lane * TEXT_BYTES
    raw = bytes(board.texts[start : start + board.get(lane, Lane.TEXT_LEN)])
    if before % 2 or before != board.get(lane, Lane.TEXT_SEQ):
        return ""
    return raw.decode("utf-8", "ignore")
