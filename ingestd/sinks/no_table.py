"""The sink of a pipeline without a table: gate, dead letters and cursor go on as with one. Knows no database."""

from typing import Any

from msgspec import Struct

from ingestd.batch import Counts, Outcome, Rows
from ingestd.sinks.ladder import Way
from ingestd.stores.store import Transaction


class UnwrittenBatch(Struct, frozen=True):
    """A batch of which nothing goes into a table."""

    rows: Rows
    encode_ns: int = 0


class NoTableSink:
    """A `worker.writer.Sink` that writes nothing: every good record has passed."""

    def attach(self, connection: Any) -> None:
        """There is nothing to make."""

    def ways(self) -> tuple[Way, ...]:
        """One, which cannot fail."""
        return (Way.DIRECT,)

    def prepare(self, rows: Rows) -> UnwrittenBatch:
        """`rows` as they are."""
        return UnwrittenBatch(rows)

    def write(self, batch: UnwrittenBatch, tx: Transaction, way: Way) -> Outcome:
        """All of them passed."""
        return Outcome(Counts(passed=len(batch.rows.records)), [])
