"""A batch as SQLite's parameters: rows in key order, values flat, and what kind of statement each row needs.

Knows no connection.
"""

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from numpy.typing import NDArray

from ingestd.batch import DELETES, DeadLetter, Record, Rows, dead_letter, presence_of
from ingestd.config import options as cfg
from ingestd.rows import Flags, Ints, arrival, first_of_key, flags_of, key_order, places
from ingestd.schema.sqlite import sqlite_type
from ingestd.schema.types import parse_type
from ingestd.stores.sqlite.table_check import stored_columns


class Kind(Struct, frozen=True):
    """What distinguishes the statements of rows."""

    deletes: bool = False
    replayed: bool = False
    """Committed once already: it may change nothing that it changed then."""
    kept: frozenset[str] = frozenset()
    """Columns that the record leaves as they are."""


PLAIN = Kind()


class SqliteBatch(Struct):
    """Rows ready to be bound. Row n of `values` came from `records[order[n]]` (`order` None: as they came)."""

    rows: Rows
    order: Ints | None
    values: list[Any]
    """Row after row, `width` values each."""
    width: int
    count: int
    repeats: list[bool]
    """Whether row n has the key of the row before, in mode upsert."""
    kinds: list[Kind]
    kind_of: Ints | None
    """Number of each row's kind; None: all are of the first. `replayed` is not in it: the ledger tells that."""
    versions: list[tuple[Any, ...]]
    """Of each row, where versions are remembered; else empty."""
    unstorable: dict[int, str]
    """Rows that SQLite would change without a word, with the column."""
    encode_ns: int

    def record(self, n: int) -> Record:
        """The record behind row `n`."""
        return self.rows.records[n if self.order is None else int(self.order[n])]

    def row(self, n: int, count: int = 1) -> list[Any]:
        """The values of `count` rows from `n` on."""
        return self.values[n * self.width : (n + count) * self.width]

    def places(self) -> tuple[NDArray[np.int32], Ints]:
        """Partition and offset of each row."""
        partitions, offsets = places(self.rows)
        return (partitions, offsets) if self.order is None else (partitions[self.order], offsets[self.order])


class SqliteEncoder:
    """Makes batches of one pipeline; may be called from two threads."""

    def __init__(self, pipeline: cfg.Pipeline):
        table = pipeline.table
        self._key = list(table.key)
        self._columns = [(c.name, sqlite_type(parse_type(c.type))) for c in stored_columns(pipeline)]
        self._is_upsert = table.mode == "upsert"
        hard = table.delete is not None and table.delete.how == "hard" and table.version != "offset"
        version = (table.version,) if isinstance(table.version, str) else table.version
        types = {column.name: sqlite_type(parse_type(column.type)) for column in pipeline.column}
        self._version = [(name, types[name]) for name in version] if hard else []
        # As in PostgreSQL: a row has the whole version of one record, null where that lacks a part of it.
        self._always = {*table.key, *version}
        self._kept = {column.name for column in pipeline.column if column.keep_when_absent}

    def encode(self, rows: Rows) -> SqliteBatch:
        """`rows` sorted by key and converted, column by column.

        Stable: rows of one key stay in the order of their records. Sorted rows take neighbouring pages of the B-tree.
        """
        began = time.perf_counter_ns()
        columns, count = rows.columns, rows.columns.num_rows
        if count != len(rows.records):
            raise ValueError(f"{count} rows of {len(rows.records)} records")
        order, repeats = None, np.zeros(count, np.bool_)
        if self._key and count > 1:
            # Only records of several partitions come in any mix.
            order = key_order(columns, self._key, arrival(*places(rows)) if len(rows.tiles) > 1 else None)
            columns = columns.take(pa.array(order))
            if self._is_upsert:
                repeats = ~first_of_key(columns, self._key)
        kinds, kind_of = self._kinds(columns) if self._is_upsert else ([PLAIN], None)
        if kind_of is not None and count > 1:
            by_kind = _by_kind(kind_of, repeats, len(kinds))
            columns, kind_of, repeats = columns.take(pa.array(by_kind)), kind_of[by_kind], repeats[by_kind]
            order = by_kind if order is None else order[by_kind]
        lists = [kind.values(columns.column(name)) for name, kind in self._columns]
        return SqliteBatch(
            rows=rows,
            order=order,
            values=list(chain.from_iterable(zip(*lists, strict=True))),
            width=len(lists),
            count=count,
            repeats=repeats.tolist(),
            kinds=kinds,
            kind_of=kind_of,
            versions=list(zip(*(kind.values(columns.column(name)) for name, kind in self._version), strict=True)),
            unstorable=self._unstorable(columns),
            encode_ns=time.perf_counter_ns() - began,
        )

    def _kinds(self, columns: pa.RecordBatch) -> tuple[list[Kind], Ints | None]:
        """Which rows delete, and which columns each of them leaves as they are."""
        names = set(columns.schema.names)
        deletes = flags_of(columns, DELETES)
        parts: list[tuple[str, Flags]] = []
        for name, _ in self._columns:
            if name in self._always or presence_of(name) not in names:
                continue
            kept = ~flags_of(columns, presence_of(name))
            # An upsert writes null or the default where a field is missing, unless the column says otherwise.
            kept = kept if name in self._kept else kept & deletes
            if kept.any():
                parts.append((name, kept))
        if not parts and not deletes.any():
            return [PLAIN], None
        flags = np.stack([deletes, *(flags for _, flags in parts)], axis=1)
        distinct, kind_of = np.unique(flags, axis=0, return_inverse=True)
        kinds = [
            Kind(bool(row[0]), False, frozenset(name for (name, _), kept in zip(parts, row[1:], strict=True) if kept))
            for row in distinct
        ]
        return kinds, kind_of.reshape(-1).astype(np.int64)

    def _unstorable(self, columns: pa.RecordBatch) -> dict[int, str]:
        """SQLite stores NaN as null."""
        found: dict[int, str] = {}
        for name, _ in self._columns:
            column = columns.column(name)
            if pa.types.is_floating(column.type):
                places = np.flatnonzero(pc.is_nan(column).fill_null(False).to_numpy(zero_copy_only=False))
                found |= {int(n): name for n in places}
        return found


def unstorable_letter(batch: SqliteBatch, n: int) -> DeadLetter:
    """The dead letter of a row of `batch.unstorable`."""
    column = batch.unstorable[n]
    return dead_letter(batch.record(n), "write", column, "NaN cannot be stored in SQLite", "22003")


def _by_kind(kind_of: Ints, repeats: Flags, kinds: int) -> Ints:
    """An order in which rows of one kind are neighbours; those of keys that come twice stay as they are, at the end."""
    repeated = repeats.copy()
    repeated[:-1] |= repeats[1:]
    return np.argsort(np.where(repeated, kinds, kind_of), kind="stable").astype(np.int64)


def runs(kind_of: Ints | None, count: int) -> Sequence[tuple[int, int, int]]:
    """(start, end, kind) of neighbours of one kind; of all rows."""
    if kind_of is None or not count:
        return [(0, count, 0)] if count else []
    cuts = np.flatnonzero(kind_of[1:] != kind_of[:-1]) + 1
    starts, ends = [0, *cuts.tolist()], [*cuts.tolist(), count]
    return [(start, end, int(kind_of[start])) for start, end in zip(starts, ends, strict=True)]
