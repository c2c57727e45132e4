"""Owns a writer on a real SQLite file without Kafka, and questions to the file on connections of their own."""

import contextlib
import sqlite3
from collections.abc import Sequence
from typing import Any

from ingestd.config import options as cfg
from ingestd.sinks.open import open_sink
from ingestd.stores.sqlite.store import SqliteStore
from ingestd.stores.store import LedgerKey
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Writer
from tests.sinks.contracts import MemoryRecord, Seen, decoded, records_of


class FileBench:
    """Store, sink and writer of one pipeline on one file, with the lease already claimed from offset 0."""

    def __init__(self, path: str, pipeline: cfg.Pipeline, partitions: Sequence[int] = (0,)):
        self.pipeline = pipeline
        self.path = path
        key = LedgerKey(pipeline.name, pipeline.topic)
        options = cfg.Store(url=f"sqlite:///{path}", lock_timeout=cfg.Secs(5))
        self.store = SqliteStore(options, key)
        self.sink = open_sink(options, pipeline)
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
        self.commit_records(records_of(values, start, partition))

    def commit_records(self, records: Sequence[MemoryRecord]) -> None:
        """Decode and commit these records."""
        self.writer.commit(self.writer.prepare([decoded(self.pipeline, records)]))

    def rewind(self, offset: int = 0) -> None:
        """As `ingestd offsets reset` does it."""
        ask(self.path, "UPDATE ingestd_cursors SET next_offset = ?, range_end = ?", offset, offset)
        self.claim(sorted(self.writer.epochs))

    def dead(self) -> list[tuple[int, str | None]]:
        """(offset, sqlstate) of the dead letters of partition 0, in offset order."""
        found = 'SELECT "offset", sqlstate FROM ingestd_dead_letters WHERE partition = 0 ORDER BY "offset"'
        return ask(self.path, found)

    def cursor(self, partition: int = 0) -> int:
        """The committed cursor."""
        return int(ask(self.path, "SELECT next_offset FROM ingestd_cursors WHERE partition = ?", partition)[0][0])

    def column(self, name: str = "id", table: str = "orders") -> list[Any]:
        """The values of one column, sorted."""
        return [row[0] for row in ask(self.path, f'SELECT "{name}" FROM {table} ORDER BY 1')]


def ask(path: str, query: str, *values: Any) -> list[Any]:
    """The rows of a query on a connection of its own; without values, of the last of several statements."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
        if not values and ";" in query:
            connection.executescript(query)
            return []
        return connection.execute(query, values).fetchall()
