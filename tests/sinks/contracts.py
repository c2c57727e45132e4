"""Owns records in memory, a pipeline from a few lines, and a writer on a real database without Kafka."""

from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
import psycopg

from ingestd.batch import Chunk, Counts, Rows, Tile
from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.sinks.ladder import Way
from ingestd.sinks.open import open_sink
from ingestd.stores.postgres.store import PostgresStore
from ingestd.stores.store import LedgerKey, Transaction
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Sink, Writer

TOPIC = "orders"


class MemoryRecord(msgspec.Struct):
    """A record as the Kafka client would give it."""

    payload: bytes | None
    at: int
    of: int = 0
    key_bytes: bytes | None = b"key"
    pairs: list[tuple[str, bytes | None]] | None = None
    time_ms: int = 1_700_000_000_000

    def value(self) -> bytes | None:
        return self.payload

    def key(self) -> bytes | None:
        return self.key_bytes

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self.pairs

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (1, self.time_ms)


def pipeline_of(
    columns: dict[str, str],
    key: Sequence[str] = ("id",),
    mode: str = "insert",
    table: str = "orders",
    create: bool = False,
    direct: bool = True,
    **more: Any,
) -> cfg.Pipeline:
    """A pipeline of column name -> type."""
    unique = [] if mode == "append" else list(key)
    return msgspec.convert(
        {
            "name": "p",
            "topic": TOPIC,
            "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
            "column": [{"name": name, "type": kind} for name, kind in columns.items()],
            "table": {"name": table, "mode": mode, "key": unique, "create": create, "direct": direct},
            **more,
        },
        cfg.Pipeline,
    )


def records_of(values: Sequence[Any], start: int = 0, partition: int = 0) -> list[MemoryRecord]:
    """One record a value; a value that is no bytes is written as JSON."""
    return [
        MemoryRecord(value if isinstance(value, bytes) or value is None else orjson.dumps(value), start + n, partition)
        for n, value in enumerate(values)
    ]


def decoded(pipeline: cfg.Pipeline, records: Sequence[MemoryRecord], tiles: list[Tile] | None = None) -> Rows:
    """The decoded chunk of `records`; tiles reach to the last of each partition unless given."""
    if tiles is None:
        seen: dict[int, tuple[int, int]] = {}
        for record in records:
            start, _ = seen.get(record.of, (record.at, 0))
            seen[record.of] = (start, record.at + 1)
        tiles = [Tile(partition, start, end) for partition, (start, end) in seen.items()]
    return make_decoder(pipeline)(Chunk(tiles, records))


class Seen:
    """Stands where the board does, and remembers what was committed by which way."""

    def __init__(self) -> None:
        self.ways: list[Way] = []
        self.counts: list[dict[int, Counts]] = []
        self.tiles: list[Tile] = []

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None:
        self.ways.append(way)
        self.counts.append(counts)
        self.tiles += rows.tiles


class RecordingSink:
    """The pipeline's sink, telling which ways were tried."""

    def __init__(self, sink: Sink):
        self._sink = sink
        self.tried: list[Way] = []
        self.attach = sink.attach
        self.ways = sink.ways
        self.prepare = sink.prepare

    def write(self, batch: Any, tx: Transaction, way: Way) -> Any:
        self.tried.append(way)
        return self._sink.write(batch, tx, way)


class Bench:
    """Store, sink and writer of one pipeline on a real database, with the lease already claimed from offset 0."""

    def __init__(self, url: str, pipeline: cfg.Pipeline, partitions: Sequence[int] = (0,)):
        self.pipeline = pipeline
        self.url = url
        key = LedgerKey(pipeline.name, pipeline.topic)
        options = cfg.Store(url=url, lock_timeout=cfg.Secs(5))
        self.store = PostgresStore(options, key)
        self.sink = RecordingSink(open_sink(options, pipeline))
        self.seen = Seen()
        self.writer = Writer(
            self.store,
            self.sink,
            key,
            lambda p: DeadLetterLimit(pipeline.dead_letters, pipeline.name, f"{pipeline.topic}-{p}"),
            self.seen,
        )
        self.store.prepare()
        self.claim(partitions)

    def claim(self, partitions: Sequence[int], held: dict[int, int] | None = None) -> dict[int, int]:
        """Where to read on, by partition; the writer goes on under the new epochs."""
        claimed = self.store.claim(partitions, lambda new, _: {p: (0, "id") for p in new}, held)
        self.writer.epochs = {c.partition: c.epoch for c in claimed}
        self.writer.topic_ids = {c.partition: c.topic_id for c in claimed}
        return {c.partition: c.next_offset for c in claimed}

    def commit(self, values: Sequence[Any], start: int = 0, partition: int = 0) -> None:
        """Decode and commit one record a value."""
        self.commit_rows(decoded(self.pipeline, records_of(values, start, partition)))

    def commit_rows(self, rows: Rows) -> None:
        """Commit one decoded chunk."""
        self.writer.commit(self.writer.prepare([rows]))

    def dead(self) -> list[tuple[int, str | None]]:
        """(offset, sqlstate) of the dead letters of partition 0, in offset order."""
        return [
            (row[0], row[1])
            for row in ask(
                self.url, 'SELECT "offset", sqlstate FROM ingestd.dead_letters WHERE partition = 0 ORDER BY "offset"'
            )
        ]

    def cursor(self, partition: int = 0) -> int:
        """The committed cursor."""
        return int(ask(self.url, "SELECT next_offset FROM ingestd.cursors WHERE partition = %s", partition)[0][0])

    def column(self, name: str = "id", table: str = "orders") -> list[Any]:
        """The values of one column, sorted."""
        return [row[0] for row in ask(self.url, f'SELECT "{name}" FROM {table} ORDER BY 1')]


def ask(url: str, query: str, *values: Any) -> list[Any]:
    """The rows of a query on a connection of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []
