"""The values that flow: records in, rows out. Knows no Kafka client and no database.

An offset is always the next one to read: `start` and `end` of a tile, `next_offset` of a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from ingestd.schema.source import SourceSchema

if TYPE_CHECKING:
    import pyarrow as pa

Headers = Sequence[tuple[str, bytes | None]] | None


class Record(Protocol):
    """One Kafka record; the shape of `confluent_kafka.Message`, so that no copy is made."""

    def value(self) -> bytes | None: ...
    def key(self) -> bytes | None: ...
    def headers(self) -> Headers: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]:
        """(kind, milliseconds since the epoch)."""
        ...


class Tile(Struct, frozen=True, order=True):
    """A range [start, end) of one partition; a sink group's tiles cover it without gap or overlap.

    `end` may lie beyond the last record + 1: control records and compaction leave holes.
    """

    partition: int
    start: int
    end: int


class DeadLetter(Struct, frozen=True):
    """One refused record with all that is needed to look at it, mend it and send it again."""

    partition: int
    offset: int
    key: bytes | None
    payload: bytes | None
    headers: Headers
    timestamp_ms: int
    stage: str
    """"decode" (ingestd refused it) or "write" (the database did)."""
    column: str | None
    reason: str
    sqlstate: str | None = None


class Chunk(Struct):
    """What one poll gave: at most 2,000 records of one topic, per partition in offset order."""

    tiles: list[Tile]
    records: Sequence[Record]


class Rows(Struct):
    """A decoded chunk, or several joined into a batch.

    `columns` has the declared columns in their order, then those of `DELETES` and `presence_of` where the pipeline
    needs them; one row per good record, row i came from `records[i]`.
    `dead`, `ignored` and `truncates` hold the other records of the tiles: each record is in exactly one of the four.
    """

    tiles: list[Tile]
    columns: pa.RecordBatch
    records: Sequence[Record]
    dead: list[DeadLetter]
    nbytes: int
    """Payload bytes of all delivered records, for the batch limit and the byte counters."""
    new_fields: dict[str, str] = {}
    """With on_new_field = "evolve": top-level fields that no column reads -> the contract type that takes them, or ""
    when none can."""
    ignored: list[tuple[int, int]] = []
    """(partition, offset) of records that hold nothing to store, by their format: heartbeats and the like."""
    truncates: list[tuple[int, int]] = []
    """(partition, offset) of change events that empty the whole table: what lies before is gone, the rest stays.
    Whoever writes the rows has to apply them in this order, or to halt; they are never passed over."""
    source_schema: SourceSchema | None = None
    """Of change events with cdc.columns = "from_events": the source's table, as the first of the records describe
    it whose columns or key are not the pipeline's. These rows lack what the pipeline has no column for (without columns
    there are no rows at all), so they must not be written: first its columns become those of `source_schema` too, then
    the chunk is decoded again by the pipeline with them. A column that the decoder was told to ignore is not told of
    again."""


DELETES = "ingestd:deletes"
"""Name of a boolean column behind the declared ones: whether the record deletes its key."""


def presence_of(column: str) -> str:
    """Name of a boolean column behind the declared ones: whether the record has the field of `column`."""
    return f"ingestd:has:{column}"


class Counts(Struct):
    """Records of one transaction by what became of them; a rewound record that changes nothing counts as stale."""

    records: int = 0
    """Delivered: the sum of all others."""
    inserted: int = 0
    updated: int = 0
    stale: int = 0
    """Older than the stored row, or replayed."""
    folded: int = 0
    """Replaced by a later record of the same key in the same batch."""
    duplicates: int = 0
    deleted: int = 0
    """Deletes that took effect, or that came for a key without a row; a soft one that made its row is inserted."""
    passed: int = 0
    """Good records that no table takes: it has nothing to store, or the pipeline has only a lake."""
    dead: int = 0


class Outcome(Struct):
    """What a sink did with the rows of one transaction."""

    counts: Counts
    """Of all good records, over all partitions; `records` and `dead` are left at 0."""
    dead: list[DeadLetter]
    """Rows that the database refused."""
    admitted: pa.BooleanArray | None = None
    """Of each row whether the gate let it through; None: there is no gate, or it let all of them through."""


Decode = Callable[[Chunk], Rows]
"""Pure: a bad payload becomes a DeadLetter, never an exception."""


def dead_letter(record: Record, stage: str, column: str | None, reason: str, sqlstate: str | None = None) -> DeadLetter:
    """The dead letter of `record`; `reason` must not quote the payload (it is stored beside it)."""
    return DeadLetter(
        partition=record.partition(),
        offset=record.offset(),
        key=record.key(),
        payload=record.value(),
        headers=record.headers(),
        timestamp_ms=record.timestamp()[1],
        stage=stage,
        column=column,
        reason=reason,
        sqlstate=sqlstate,
    )
