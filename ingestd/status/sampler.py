"""Reads the board once a second and turns counters into rates, lag and standstill. Knows nothing of HTTP."""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from ingestd.board import SLOTS, Board, Lane, LaneState, Slot, SlotCell, read_text, read_topic
from ingestd.config.options import Pipeline
from ingestd.config.topics import for_topic
from ingestd.status.lag import lag_records, lag_secs

SHORT_SECS = 5
LONG_SECS = 60
HISTORY_POINTS = 300
_NS = 1_000_000_000

HELD = frozenset({LaneState.CLAIMING, LaneState.RUNNING, LaneState.RETRYING, LaneState.HALTED})
"""States in which the partition is this host's: only these count for lag and readiness."""

STAGES = {"decode": Lane.DECODE_NS, "encode": Lane.ENCODE_NS, "write": Lane.WRITE_NS, "commit": Lane.COMMIT_NS}
CHANGES = (Lane.INSERTED, Lane.UPDATED, Lane.DELETED, Lane.PASSED)
"""Records that changed a row, or that went by a table that is not there."""
_LAST_STAGES = {
    "decode": Lane.LAST_DECODE_NS,
    "encode": Lane.LAST_ENCODE_NS,
    "write": Lane.LAST_WRITE_NS,
    "commit": Lane.LAST_COMMIT_STAGE_NS,
}


class Rates(Struct, frozen=True):
    """Speed over a window, per second; `backpressure` is the share of time in which reading stood still, 0 to 1."""

    records: float = 0.0
    rows: float = 0.0
    payload_bytes: float = 0.0
    backpressure: float = 0.0


class Reading(Struct, frozen=True, kw_only=True):
    """One partition of one pipeline at one moment."""

    pipeline: str
    topic: str
    table: str
    partition: int
    state: LaneState
    cells: list[int]
    text: str
    lag_records: int | None
    lag_secs: float | None
    now: Rates
    """Over the last second."""
    short: Rates
    """Over the last 5 seconds."""
    long: Rates
    """Over the last 60 seconds."""
    batch_ms: dict[str, float]
    """Milliseconds a batch spent in each stage: mean of the last 5 seconds that had a batch."""
    stalled_secs: float

    @property
    def held(self) -> bool:
        return self.state in HELD


class Child(Struct, frozen=True):
    """A slot of the board with its process; `pid` 0 when a membership or status process is gone."""

    slot: int
    name: str
    pid: int
    beat_age_secs: float | None
    starts: int


class Point(Struct, frozen=True):
    """One second of one pipeline, for the curves."""

    rows_per_sec: float
    lag_records: int | None
    backpressure: float


class Snapshot(Struct, frozen=True):
    """Everything the pages show, taken in one pass; replaced whole, so a reader never sees half of two."""

    at_ms: int
    uptime_secs: float
    readings: tuple[Reading, ...]
    children: tuple[Child, ...]
    history: dict[str, list[Point]]
    """Oldest first, one point a second, by pipeline; "" is all together."""
    log_end_age_secs: float | None
    """Time since any log end was sampled anew; None when there is none yet."""
    ever_held: bool


class _Track:
    """What must be remembered of a lane between samples."""

    def __init__(self, mono_ns: int) -> None:
        self.samples: deque[tuple[int, list[int]]] = deque(maxlen=LONG_SECS + 1)
        self.claimed_at_ms = 0
        self.caught_up_at_ms = 0
        self.next_offset = -1
        self.moved_at_ns = mono_ns
        self.held = False
        self.quiet = 0
        """So many samples in a row were the same."""
        self.batch_ms: dict[str, float] = {}

    def note(self, mono_ns: int, now_ms: int, cells: list[int], lag: int | None, held: bool) -> None:
        """Take one sample in; a partition that is not held, has no lag or moved is not standing still."""
        self.quiet = self.quiet + 1 if self.samples and self.samples[-1][1] == cells else 0
        self.samples.append((mono_ns, cells))
        if not self.quiet:
            self.batch_ms = _batch_ms(self.before(SHORT_SECS)[1], cells) or self.batch_ms or _last_batch_ms(cells)
        if not self.claimed_at_ms and cells[Lane.NEXT_OFFSET] >= 0:
            self.claimed_at_ms = now_ms
        if lag == 0:
            self.caught_up_at_ms = now_ms
        if lag == 0 or not held or not self.held or cells[Lane.NEXT_OFFSET] != self.next_offset:
            self.moved_at_ns = mono_ns
        self.next_offset = cells[Lane.NEXT_OFFSET]
        self.held = held

    def rates(self, secs: int) -> Rates:
        """Over the last `secs` samples, or as many as there are."""
        return STILL if self.quiet >= secs else _rates(self.before(secs), self.samples[-1])

    def before(self, secs: int) -> tuple[int, list[int]]:
        """The sample `secs` samples ago, or the oldest there is."""
        return self.samples[max(0, len(self.samples) - 1 - secs)]


STILL = Rates()


def _rates(old: tuple[int, list[int]], new: tuple[int, list[int]]) -> Rates:
    nanos = new[0] - old[0]
    if nanos <= 0:
        return Rates()

    def grown(cell: Lane) -> int:
        return new[1][cell] - old[1][cell]

    secs = nanos / _NS
    return Rates(
        records=grown(Lane.RECORDS) / secs,
        rows=sum(grown(cell) for cell in CHANGES) / secs,
        payload_bytes=grown(Lane.BYTES) / secs,
        backpressure=min(1.0, max(0.0, grown(Lane.BACKPRESSURE_NS) / nanos)),
    )


def _batch_ms(old: list[int], new: list[int]) -> dict[str, float] | None:
    """None when no batch was committed between the two samples."""
    batches = new[Lane.BATCHES] - old[Lane.BATCHES]
    if batches <= 0:
        return None
    return {stage: (new[cell] - old[cell]) / batches / 1e6 for stage, cell in STAGES.items()}


def _last_batch_ms(cells: list[int]) -> dict[str, float]:
    return {stage: cells[cell] / 1e6 for stage, cell in _LAST_STAGES.items()}


def slot_name(slot: int) -> str:
    """The child's name in metrics and pages."""
    if slot in (Slot.MEMBERSHIP, Slot.STATUS, Slot.KEEPER):
        return Slot(slot).name.lower()
    return f"worker-{slot - Slot.FIRST_WORKER}" if slot >= Slot.FIRST_WORKER else f"child-{slot}"


def _total(points: Sequence[Reading]) -> Point:
    lags = [reading.lag_records for reading in points if reading.lag_records is not None]
    return Point(
        rows_per_sec=sum(reading.now.rows for reading in points),
        lag_records=sum(lags) if lags else None,
        # The highest, not the mean: a worker of several partitions shows its pauses on the first of them.
        backpressure=max((reading.now.backpressure for reading in points), default=0.0),
    )


class Sampler:
    """Call `sample` once a second; read `snapshot` at any time, from any thread."""

    def __init__(self, board: Board, pipelines: Sequence[Pipeline], mono_ns: int, wall_ms: int) -> None:
        self._board = board
        self._pipelines = pipelines
        self._began_ns = mono_ns
        self._tracks: dict[int, _Track] = {}
        self._concrete: dict[int, Pipeline] = {}
        self._started: dict[int, tuple[int, int]] = {}
        self._history: dict[str, deque[Point]] = {}
        self._log_end_stamp = 0
        self._log_end_seen_ns = mono_ns
        self._ever_held = False
        self.snapshot = Snapshot(wall_ms, 0.0, (), (), {}, None, False)

    def sample(self, mono_ns: int, wall_ms: int) -> Snapshot:
        """A new `snapshot`: `mono_ns` by time.monotonic_ns(), `wall_ms` since the epoch."""
        lanes = self._board.taken_lanes()
        readings = tuple(self._reading(lane, mono_ns, wall_ms) for lane in lanes)
        held = [reading for reading in readings if reading.held]
        self._ever_held = self._ever_held or bool(held)
        stamp = max((reading.cells[Lane.LOG_END_AT_NS] for reading in readings), default=0)
        if stamp != self._log_end_stamp:
            self._log_end_stamp, self._log_end_seen_ns = stamp, mono_ns
        self._remember(held)
        self.snapshot = Snapshot(
            at_ms=wall_ms,
            uptime_secs=(mono_ns - self._began_ns) / _NS,
            readings=readings,
            children=self._children(mono_ns),
            history={name: list(points) for name, points in self._history.items()},
            log_end_age_secs=(mono_ns - self._log_end_seen_ns) / _NS if stamp else None,
            ever_held=self._ever_held,
        )
        return self.snapshot

    def _reading(self, lane: int, mono_ns: int, wall_ms: int) -> Reading:
        cells = self._board.lane(lane)
        pipeline = self._concrete.get(lane) or self._pipeline_of(lane, cells)
        state = LaneState(cells[Lane.STATE])
        held = state in HELD
        lag = lag_records(cells[Lane.NEXT_OFFSET], cells[Lane.LOG_END]) if held else None
        track = self._tracks.setdefault(lane, _Track(mono_ns))
        track.note(mono_ns, wall_ms, cells, lag, held)
        return Reading(
            pipeline=pipeline.name,
            topic=pipeline.topic,
            table=pipeline.table.name,
            partition=cells[Lane.PARTITION],
            state=state,
            cells=cells,
            text=read_text(self._board, lane) if cells[Lane.TEXT_LEN] else "",
            lag_records=lag,
            lag_secs=lag_secs(lag, wall_ms, cells[Lane.LAST_RECORD_MS], track.claimed_at_ms, track.caught_up_at_ms),
            now=track.rates(1),
            short=track.rates(SHORT_SECS),
            long=track.rates(LONG_SECS),
            batch_ms=track.batch_ms,
            stalled_secs=(mono_ns - track.moved_at_ns) / _NS,
        )

    def _pipeline_of(self, lane: int, cells: list[int]) -> Pipeline:
        """As it is for the lane's topic, which stays the lane's."""
        self._concrete[lane] = for_topic(self._pipelines[cells[Lane.PIPELINE]], read_topic(self._board, lane))
        return self._concrete[lane]

    def _remember(self, held: Sequence[Reading]) -> None:
        by_pipeline: dict[str, list[Reading]] = {pipeline.name: [] for pipeline in self._pipelines}
        for reading in held:
            by_pipeline[reading.pipeline].append(reading)
        for name, readings in (("", list(held)), *by_pipeline.items()):
            self._history.setdefault(name, deque(maxlen=HISTORY_POINTS)).append(_total(readings))

    def _children(self, mono_ns: int) -> tuple[Child, ...]:
        board, children = self._board, []
        for slot in range(SLOTS):
            pid = board.slot(slot, SlotCell.PID)
            last_pid, starts = self._started.get(slot, (0, 0))
            # A worker may leave for good, with its partitions; the others are missed when they are gone.
            if not pid and (slot >= Slot.FIRST_WORKER or not starts):
                continue
            if pid and pid != last_pid:
                starts += 1
                self._started[slot] = (pid, starts)
            beat_ns = board.slot(slot, SlotCell.BEAT_NS)
            age = max(0.0, (mono_ns - beat_ns) / _NS) if beat_ns else None
            children.append(Child(slot, slot_name(slot), pid, age, starts))
        return tuple(children)
