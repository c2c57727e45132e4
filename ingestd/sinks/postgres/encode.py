"""A batch as PostgreSQL wants it: chunks joined, rows in key order, binary COPY bytes. Knows no connection."""

import time
from collections.abc import Callable, Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.batch import Record, Rows

Encoder = Callable[[pa.RecordBatch], list[bytes]]


class Encoded(Struct):
    """Rows ready for COPY. Row n of the COPY came from `records[order[n]]` (`order` None: as they came)."""

    rows: Rows
    columns: pa.RecordBatch
    """The rows in the order of the COPY."""
    encoder: Encoder
    order: pa.UInt64Array | None
    pieces: list[bytes]
    """One binary COPY, in writes of some hundred kilobytes."""
    count: int
    repeats: bool
    """Whether a key is there twice: then the order of insertion tells which row stays."""
    encode_ns: int

    def record(self, n: int) -> Record:
        """The record behind row `n` (counted from 0) of the COPY stream."""
        return self.rows.records[n if self.order is None else self.order[n].as_py()]

    def without(self, numbers: Collection[int]) -> list[bytes]:
        """The COPY of all rows but these."""
        keep = [True] * self.count
        for n in numbers:
            keep[n] = False
        rest = self.columns.filter(pa.array(keep, pa.bool_()))
        return self.encoder(rest) if rest.num_rows else []


def encode(rows: Rows, key: Sequence[str], encoder: Encoder, stored: Sequence[str]) -> Encoded:
    """Sorted by `key` (stable, bytes order for text: COLLATE "C") and encoded once for every way in.

    `stored` are the columns of the table, in the order of `encoder`; a batch may have more.

    Sorted rows take neighbouring index pages, and all workers lock keys in one order.

    Raises: ValueError when rows and records differ in number, a defect: a record would be skipped.
    """
    if rows.columns.num_rows != len(rows.records):
        raise ValueError(f"{rows.columns.num_rows} rows of {len(rows.records)} records")
    began = time.perf_counter_ns()
    columns, order, repeats = rows.columns, None, False
    if columns.schema.names != list(stored):
        columns = columns.select(list(stored))
    if key and columns.num_rows > 1:
        if len(key) == 1:
            order = pc.sort_indices(columns.column(key[0]))
        else:
            order = pc.sort_indices(columns, sort_keys=[(name, "ascending") for name in key])
        columns = columns.take(order)
        repeats = _repeats(columns, key)
    pieces = encoder(columns) if columns.num_rows else []
    return Encoded(rows, columns, encoder, order, pieces, columns.num_rows, repeats, time.perf_counter_ns() - began)


def _repeats(columns: pa.RecordBatch, key: Sequence[str]) -> bool:
    """Whether two neighbours of the sorted batch have one key; null equals nothing."""
    same = None
    for name in key:
        column = columns.column(name)
        equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        same = equal if same is None else pc.and_(same, equal)
    return bool(pc.any(same).as_py())
