"""Records that a rewind brings a second time, for tables that have no key to know them by. Knows no database."""

from typing import Any

import pyarrow as pa

from ingestd.batch import Counts, Outcome, Rows
from ingestd.sinks.ladder import Way
from ingestd.stores.store import Transaction


class AppendOnce:
    """A sink, or the gate before it, that sees no record a second time; itself a `worker.writer.Sink`.

    A record below the highest offset ever committed was a row, a duplicate or a dead letter then. A redriven letter is
    none of these: it comes through.
    """

    def __init__(self, sink: Any):
        self._sink = sink
        self.attach = sink.attach
        self.ways = sink.ways
        self.prepare = sink.prepare

    def write(self, batch: Any, tx: Transaction, way: Way) -> Outcome:
        """The sink's outcome; what is replayed counts as stale."""
        rows, replayed = _without_replayed(batch.rows, tx)
        if not replayed:
            outcome: Outcome = self._sink.write(batch, tx, way)
            return outcome
        outcome = self._sink.write(self._sink.prepare(rows), tx, way) if rows.records else Outcome(Counts(), [])
        outcome.counts.stale += replayed
        return outcome


def _without_replayed(rows: Rows, tx: Transaction) -> tuple[Rows, int]:
    """`rows` without the records that were committed before, and how many those are."""
    below = {tile.partition: tx.replay_below.get(tile.partition, 0) for tile in rows.tiles}
    if tx.redrives or all(tile.start >= below[tile.partition] for tile in rows.tiles):
        return rows, 0
    mask = [record.offset() >= below[record.partition()] for record in rows.records]
    records = [record for record, fresh in zip(rows.records, mask, strict=True) if fresh]
    columns = rows.columns.filter(pa.array(mask, pa.bool_()))
    return Rows(rows.tiles, columns, records, rows.dead, rows.nbytes), len(mask) - len(records)
