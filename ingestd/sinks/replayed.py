"""Records that a rewind brings a second time, for tables that have no key to know them by. Knows no database."""

from typing import Any

import pyarrow as pa

from ingestd.batch import Counts, Outcome, Rows
from ingestd.rows import Flags, below, only, places
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
        """The sink's outcome; what is replayed counts as stale, and is admitted nowhere."""
        fresh = _fresh(batch.rows, tx)
        if fresh is None:
            outcome: Outcome = self._sink.write(batch, tx, way)
            return outcome
        rows = only(batch.rows, fresh)
        outcome = self._sink.write(self._sink.prepare(rows), tx, way) if rows.records else Outcome(Counts(), [])
        outcome.counts.stale += len(fresh) - len(rows.records)
        if outcome.admitted is not None:
            fresh[fresh] = outcome.admitted.to_numpy(zero_copy_only=False)
        outcome.admitted = pa.array(fresh)
        return outcome


def _fresh(rows: Rows, tx: Transaction) -> Flags | None:
    """Which records were not committed before; None when none was."""
    if tx.redrives or all(tile.start >= tx.replay_below.get(tile.partition, 0) for tile in rows.tiles):
        return None
    fresh = ~below(*places(rows), tx.replay_below)
    return None if fresh.all() else fresh
