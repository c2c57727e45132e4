"""The compacted events of one run, read back as the records they were. Knows no table and no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from ingestd.batch import Headers
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.places.faults import faults

CHUNK_RECORDS = 2_000
_BUFFER_BYTES = 1 << 20


class Event(Struct, gc=False):
    """One record of bronze; see `ingestd.batch.Record`."""

    at_partition: int
    at_offset: int
    at_ms: int
    document: bytes | None
    of_key: bytes | None

    def value(self) -> bytes | None:
        return self.document

    def key(self) -> bytes | None:
        return self.of_key

    def headers(self) -> Headers:
        return None

    def partition(self) -> int:
        return self.at_partition

    def offset(self) -> int:
        return self.at_offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms


class BronzeFile:
    """One file of events, by topic; memory is that of a few pages, however large it is.

    Raises: Halt for a file that is damaged or lacks a column, Retryable for the disk's errors.
    """

    def __init__(self, pipeline: cfg.Pipeline, path: Path):
        self._path = path
        self._names = {column.source: column.name for column in pipeline.column if column.stored}
        with self._reading():
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            self._groups = [self._topics_of(group) for group in range(self._file.num_row_groups)]

    def topics(self) -> Counter[str]:
        """How many events there are of each topic."""
        total: Counter[str] = Counter()
        for group in self._groups:
            total.update(group)
        return total

    def chunks(self, topic: str) -> Iterator[list[Event]]:
        """The topic's events as they are in the file, in each partition in the order of offsets."""
        wanted = [number for number, topics in enumerate(self._groups) if topics[topic]]
        columns = [self._names[source] for source in ("value", "key", "partition", "offset", "timestamp", "topic")]
        with self._reading():
            for batch in self._file.iter_batches(CHUNK_RECORDS, row_groups=wanted, columns=columns):
                named = batch.column(self._names["topic"])
                if pc.any(pc.not_equal(named, topic)).as_py():
                    batch = batch.filter(pc.equal(named, topic))
                if batch.num_rows:
                    yield self._events(batch)

    def close(self) -> None:
        self._file.close()

    def _topics_of(self, group: int) -> Counter[str]:
        counted: Counter[str] = Counter()
        name = self._names["topic"]
        for batch in self._file.iter_batches(1 << 16, row_groups=[group], columns=[name]):
            for pair in pc.value_counts(batch.column(name)).to_pylist():
                counted[str(pair["values"])] += pair["counts"]
        return counted

    def _events(self, batch: pa.RecordBatch) -> list[Event]:
        columns = (
            batch.column(self._names["partition"]).to_pylist(),
            batch.column(self._names["offset"]).to_pylist(),
            _milliseconds(batch.column(self._names["timestamp"])),
            _octets(batch.column(self._names["value"])),
            _octets(batch.column(self._names["key"])),
        )
        return list(map(Event, *columns))

    def _reading(self) -> Any:
        return _Reading(self._path)


class _Reading:
    """Errors of the file as decisions."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise Halt(f"{self._path}: is missing; restore it, or compact the run again") from error
        if isinstance(error, OSError):
            with faults(f"{self._path}: read"):
                raise error
        if isinstance(error, pa.ArrowException | KeyError):
            raise Halt(f"{self._path}: cannot be read as events of this pipeline: {error}") from error


def _octets(column: pa.Array) -> list[Any]:
    octets: list[Any] = (column if pa.types.is_binary(column.type) else column.cast(pa.binary())).to_pylist()
    return octets


def _milliseconds(column: pa.Array) -> list[int]:
    """Milliseconds since 1970; -1 for what a broker too old did not write."""
    if not pa.types.is_timestamp(column.type):
        column = pc.multiply(column, 1000) if pa.types.is_floating(column.type) else column
        found: list[int] = column.cast(pa.int64()).fill_null(-1).to_pylist()
        return found
    milliseconds: list[int] = pc.divide(column.cast(pa.int64()), 1000).fill_null(-1).to_pylist()
    return milliseconds
