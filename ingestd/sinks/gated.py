"""The gate in front of a sink: only the first record of a gate key goes through. Knows no database and no SQL.

Gate keys are written in the transaction of the rows, before them, and only stay when the rows do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.batch import Counts, DeadLetter, Outcome, Rows, dead_letter
from ingestd.rows import arrival, first_of_key, key_order, only, places
from ingestd.sinks.ladder import Way
from ingestd.stores.faults import RecordsRefused, RowFault, RowsRefused
from ingestd.stores.store import Transaction

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS_BEFORE_SPLIT = 16
"""Every round redoes the batch, and a repeated bad record may take as many rounds as it has repeats."""


class Gate(Protocol):
    """The table of seen keys in one store; see `ingestd.sinks.postgres.gate.PostgresGate`."""

    def attach(self, connection: Any) -> None:
        """Make or check the table, and what this session needs. Commits. Raises: Halt."""
        ...

    def admit(self, rows: Rows, tx: Transaction) -> pa.BooleanArray:
        """For each row whether its key is new; then the key is seen, if `tx` commits. Of equal keys in `rows` the
        first by partition and offset is new. May raise RecordsRefused."""
        ...

    def lost(self, rows: Rows, tx: Transaction) -> "NDArray[np.bool_]":
        """For each row, of records that were committed before, whether another record came first with its key.

        A key that the gate has forgotten was nobody else's. Raises: Halt when the table does not keep places.
        """
        ...


class Gated(Protocol):
    """What stands behind the gate: a `worker.writer.Sink`."""

    def attach(self, connection: Any) -> None: ...
    def ways(self) -> tuple[Way, ...]: ...
    def prepare(self, rows: Rows) -> Any: ...
    def write(self, batch: Any, tx: Transaction, way: Way) -> Outcome: ...


class GatedBatch(Struct):
    """All rows of a batch, and the same as the sink wants them: mostly every key is new."""

    rows: Rows
    behind: Any

    @property
    def encode_ns(self) -> int:
        """Time spent to prepare the rows for the sink."""
        return int(self.behind.encode_ns)


class GatedSink:
    """A sink behind a gate; itself a `worker.writer.Sink`."""

    def __init__(self, gate: Gate, sink: Gated):
        self._gate = gate
        self._sink = sink
        self._refused_in: list[Any] = []
        """The tiles of the batch that was refused last."""
        self._rounds = 0

    def attach(self, connection: Any) -> None:
        """Make or check the gate's table, then the sink's."""
        self._gate.attach(connection)
        self._sink.attach(connection)

    def ways(self) -> tuple[Way, ...]:
        """The sink's ways."""
        return self._sink.ways()

    def prepare(self, rows: Rows) -> GatedBatch:
        """`rows` prepared as if every key were new."""
        return GatedBatch(rows, self._sink.prepare(rows))

    def write(self, batch: GatedBatch, tx: Transaction, way: Way) -> Outcome:
        """The sink's outcome for the first record of each key; the others are duplicates.

        Raises: RecordsRefused when the sink refuses records: their keys must not stay in the gate.
        """
        new = self._gate.admit(batch.rows, tx)
        duplicates = len(new) - new.true_count
        behind = batch.behind
        if duplicates:
            behind = self._sink.prepare(only(batch.rows, new.to_numpy(zero_copy_only=False)))
        outcome = Outcome(Counts(), [])
        try:
            outcome = self._sink.write(behind, tx, way)
            dead = outcome.dead
        except RecordsRefused as refused:
            dead = refused.dead
        if dead:
            self._count_round(batch.rows)
            raise RecordsRefused(dead + (_same_again(batch.rows, new, dead) if duplicates else []))
        outcome.counts.duplicates += duplicates
        outcome.admitted = new if duplicates else None
        return outcome

    def _count_round(self, rows: Rows) -> None:
        """Raises: RowsRefused, which splits the batch, when a redo after the other meets another bad repeat."""
        self._rounds = self._rounds + 1 if self._refused_in == rows.tiles else 1
        self._refused_in = rows.tiles
        if self._rounds > _ROUNDS_BEFORE_SPLIT and len(rows.records) > 1:
            self._rounds = 0
            raise RowsRefused(RowFault("", "repeats of refused records", at_commit=True))


class FirstOfKeys(Struct):
    """The rows of a batch that come first with their key, in the order of the keys: bytes order for text.

    Every worker takes the keys in this order, so that no two wait for each other.
    """

    columns: pa.RecordBatch
    """The key columns."""
    positions: "NDArray[np.int64]"
    """The place of each in the batch."""
    partitions: "NDArray[np.int32]"
    offsets: "NDArray[np.int64]"

    def mask(self, count: int, chosen: "NDArray[Any]") -> pa.BooleanArray:
        """Of a batch of `count` rows those that are `chosen` here (indices, or a boolean for each)."""
        new = np.zeros(count, dtype=bool)
        new[self.positions[chosen]] = True
        return pa.array(new)


def first_of_keys(rows: Rows, key: Sequence[str]) -> FirstOfKeys:
    """The first row of each key by partition and offset; a batch may hold several partitions in any mix."""
    partitions, offsets = places(rows)
    positions = key_order(rows.columns, key, arrival(partitions, offsets))
    columns = rows.columns.select(list(key)).take(pa.array(positions))
    first = first_of_key(columns, key)
    if not first.all():
        columns, positions = columns.filter(pa.array(first)), positions[first]
    return FirstOfKeys(columns, positions, partitions[positions], offsets[positions])


def _same_again(rows: Rows, new: pa.BooleanArray, dead: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Dead letters of the duplicates whose row is that of a refused record, value for value.

    Tried in its place such a row is refused for the same reason: a producer that sends one bad record a thousand
    times would otherwise cost as many rounds.
    """
    letters = {(letter.partition, letter.offset): letter for letter in dead}
    refused = [n for n, record in enumerate(rows.records) if (record.partition(), record.offset()) in letters]
    refused_rows = rows.columns.take(pa.array(refused, pa.int64()))
    maybe = pc.invert(new)
    for name, column in zip(rows.columns.schema.names, rows.columns.columns, strict=True):
        if not pa.types.is_nested(column.type):
            maybe = pc.and_(maybe, pc.is_in(column, value_set=refused_rows.column(name)))
    chosen = np.flatnonzero(maybe.to_numpy(zero_copy_only=False))
    by_content = {repr(row): rows.records[n] for n, row in zip(refused, refused_rows.to_pylist(), strict=True)}
    repeated = []
    for n, row in zip(chosen.tolist(), rows.columns.take(pa.array(chosen)).to_pylist(), strict=True):
        original = by_content.get(repr(row))
        if original is not None:
            letter = letters[original.partition(), original.offset()]
            repeated.append(dead_letter(rows.records[n], "write", letter.column, letter.reason, letter.sqlstate))
    return repeated
