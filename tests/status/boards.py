"""Boards and configurations for the tests of the status server."""

from ingestd.board import Board, Lane, LaneState, take_lane
from ingestd.config.options import Column, Config, Kafka, Pipeline, Secret, Secs, Status, Store, Table
from ingestd.status.sampler import Sampler, Snapshot

SECOND_NS = 1_000_000_000
START_NS = 5_000 * SECOND_NS
START_MS = 1_700_000_000_000


def make_config(listen: str = "127.0.0.1:0", token: str | None = None, stalled_after_secs: float = 60) -> Config:
    """Two pipelines, "orders" and "sales"."""
    column = (Column(name="id", type="text"),)
    return Config(
        kafka=Kafka(bootstrap_servers="localhost:9092", group_id="g"),
        store=Store(url="postgresql://localhost/db"),
        pipeline=(
            Pipeline(name="orders", topic="orders-topic", column=column, table=Table(name="orders_sink")),
            Pipeline(name="sales", topic="sales-topic", column=column, table=Table(name="sales_sink")),
        ),
        status=Status(
            listen=listen, token=None if token is None else Secret(token), stalled_after=Secs(stalled_after_secs)
        ),
    )


def running_lane(board: Board, pipeline: int, partition: int, next_offset: int, log_end: int) -> int:
    """A lane in state RUNNING."""
    lane = take_lane(board, pipeline, make_config().pipeline[pipeline].topic, partition)
    board.set(lane, Lane.STATE, LaneState.RUNNING)
    board.set(lane, Lane.NEXT_OFFSET, next_offset)
    board.set(lane, Lane.LOG_END, log_end)
    board.set(lane, Lane.LOG_END_AT_NS, 1)
    board.set(lane, Lane.EPOCH, 3)
    return lane


class Watch:
    """A sampler with a clock of its own."""

    def __init__(self, board: Board) -> None:
        self.secs = 0
        self._sampler = Sampler(board, make_config().pipeline, START_NS, START_MS)

    def tick(self, secs: int = 1) -> Snapshot:
        """`secs` samples, one a second; the last snapshot."""
        for _ in range(secs):
            self.secs += 1
            self._sampler.sample(START_NS + self.secs * SECOND_NS, self.now_ms)
        return self._sampler.snapshot

    @property
    def now_ms(self) -> int:
        return START_MS + self.secs * 1000

    @property
    def now_ns(self) -> int:
        return START_NS + self.secs * SECOND_NS
