"""Records in memory, and the worker's own way of committing them. Knows no Kafka and measures nothing."""

from collections.abc import Sequence

from msgspec import Struct

from ingestd.batch import Chunk, Counts, Record, Rows, Tile
from ingestd.config.options import DeadLetters, Pipeline, Store
from ingestd.decode.decoder import make_decoder
from ingestd.rows import join
from ingestd.sinks.ladder import Way
from ingestd.sinks.open import open_sink
from ingestd.stores.postgres.store import PostgresStore
from ingestd.stores.store import LedgerKey, Transaction
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Writer

CHUNK = 2_000


class MemoryRecord(Struct):
    """A record with the shape of a Kafka message."""

    payload: bytes
    at: int
    of: int = 0

    def value(self) -> bytes:
        return self.payload

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


def chunked(records: Sequence[Record]) -> list[Chunk]:
    """`records`, consecutive ones of one partition, as polls would give them."""
    parts = [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]
    return [Chunk([Tile(part[0].partition(), part[0].offset(), part[-1].offset() + 1)], part) for part in parts]


class Committing:
    """Decoder, sink, store and writer of one partition, as a worker has them."""

    def __init__(self, pipeline: Pipeline):
        self._pipeline = pipeline
        self._decode = make_decoder(pipeline)
        self._store: PostgresStore | None = None
        self._writer: Writer | None = None

    def joined(self, chunks: Sequence[Chunk]) -> Rows:
        """The decoded chunks as one batch."""
        return join([self._decode(chunk) for chunk in chunks])

    def open(self, url: str, partition: int = 0) -> None:
        """Connect, make what is missing, claim the partition from offset 0."""
        options = Store(url=url)
        key = LedgerKey(self._pipeline.name, self._pipeline.topic)
        self._store = PostgresStore(options, key)
        sink = open_sink(options, self._pipeline)
        limit = DeadLetterLimit(DeadLetters(), self._pipeline.name, self._pipeline.topic)
        self._writer = Writer(self._store, sink, key, lambda _: limit, _Nobody())
        self._store.prepare()
        claimed = self._store.claim([partition], lambda new, _: {p: (0, "id") for p in new})
        self._writer.epochs = {one.partition: one.epoch for one in claimed}
        self._writer.topic_ids = {one.partition: one.topic_id for one in claimed}
        sink.attach(self._store.open())

    def commit(self, rows: Rows) -> None:
        """One transaction."""
        assert self._writer is not None, "open() comes first"
        self._writer.commit(self._writer.prepare([rows]))

    def close(self) -> None:
        """Give the connection back."""
        if self._store is not None:
            self._store.close()


class _Nobody:
    """Is told of commits and remembers nothing."""

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None: ...
