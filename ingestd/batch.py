"""The values that flow: records in, rows out. Knows no Kafka client and no database.

An offset is always the next one to read: `start` and `end` of a tile, `next_offset` of a cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

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

    `columns` is in schema order, one row per good record; row i came from `records[i]`.
    `dead` holds the other records of the tiles: len(records) + len(dead) were delivered.
    """

    tiles: list[Tile]
    columns: pa.RecordBatch
    records: Sequence[Record]
    dead: list[DeadLetter]
    nbytes: int
    """Payload bytes of all delivered records, for the batch limit and the byte counters."""


class Outcome(Struct):
    """What became of the rows of one transaction; dead letters of the write stage included in `dead`."""

    inserted: int
    duplicates: int
    dead: list[DeadLetter]


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
