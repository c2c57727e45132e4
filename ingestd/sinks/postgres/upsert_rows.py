"""A batch of changes as PostgreSQL wants it: folded, in key order, COPY bytes for each way. Knows no connection."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from ingestd.batch import DELETES, Record, Rows, presence_of
from ingestd.fold import Folded, fold
from ingestd.rows import Flags, below, flags_of, only, places
from ingestd.schema.postgres import Schema, SchemaColumn
from ingestd.schema.types import parse_type
from ingestd.sinks.postgres.upsert_sql import Target, has


class Changes(Struct):
    """A batch, and one change for each of its keys."""

    rows: Rows
    """As they were delivered."""
    folded: Folded
    whole: bool
    """Whether every change is an upsert of one record that writes all columns."""
    pieces: dict[str, list[bytes]]
    """Encoded so far, by form."""
    encode_ns: int

    @property
    def count(self) -> int:
        return len(self.folded.rows.records)

    @property
    def deletes(self) -> Flags:
        return flags_of(self.folded.rows.columns, DELETES)

    def record(self, n: int) -> Record:
        """The latest record of change `n`."""
        return self.folded.rows.records[n]

    def fresh(self, replay_below: Mapping[int, int]) -> Flags:
        """Whether the record of each change was never committed before."""
        return ~below(self.folded.partitions.to_numpy(), self.folded.offsets.to_numpy(), replay_below)


class Encoders:
    """Makes changes out of rows, and COPY bytes out of changes, for one target."""

    def __init__(self, target: Target):
        self._target = target
        mark = [SchemaColumn(target.mark, parse_type("bool"))] if target.mark else []
        number = SchemaColumn("ingestd_row", parse_type("int4"))
        places_of = [
            number,
            SchemaColumn("ingestd_fresh", parse_type("bool")),
            SchemaColumn("ingestd_partition", parse_type("int4")),
            SchemaColumn("ingestd_offset", parse_type("int8")),
        ]
        flags = [SchemaColumn(has(n), parse_type("bool")) for n in range(len(target.optional))]
        deletes = SchemaColumn("ingestd_deletes", parse_type("bool"))
        compared = {*target.table.key, *(column.name for column in target.versions)}
        self._forms = {
            "table": Schema((*target.stored.columns, *mark)),
            "plain": Schema((*target.stored.columns, number)),
            "full": Schema((*target.staged, *places_of, deletes, *flags)),
            "chain": Schema((*(c for c in target.staged if c.name in compared), *places_of)),
        }
        self._encoders = {form: schema.encoder() for form, schema in self._forms.items()}

    def names(self, form: str) -> list[str]:
        """The columns of a form, in the order of its COPY."""
        return self._forms[form].names

    def fold(self, rows: Rows) -> Changes:
        """One change for each key of `rows`."""
        began = time.perf_counter_ns()
        target = self._target
        versions = [column.name for column in target.versions]
        folded = fold(rows, target.table.key, versions, keep=target.keep, soft=not target.hard)
        columns = folded.rows.columns
        whole = not (folded.chained.any() or flags_of(columns, DELETES).any()) and all(
            flags_of(columns, presence_of(name), True).all() for name in target.optional
        )
        return Changes(rows, folded, whole, {}, time.perf_counter_ns() - began)

    def encode(self, changes: Changes, form: str, fresh: Flags | None = None) -> list[bytes]:
        """The COPY of the changes in one of the forms "table", "plain" and "full" (which tells which are `fresh`)."""
        began = time.perf_counter_ns()
        if form not in changes.pieces:
            columns = changes.folded.rows.columns
            more = self._own_columns(changes, fresh)
            changes.pieces[form] = self._pieces(form, columns, more)
        changes.encode_ns += time.perf_counter_ns() - began
        return changes.pieces[form]

    def chained(self, changes: Changes, replay_below: Mapping[int, int]) -> tuple[NDArray[np.int64], list[bytes]]:
        """The records of changes that were put together from several: their places in the batch, and their COPY."""
        rows = np.flatnonzero(changes.folded.chained[changes.folded.members])
        partitions, offsets = places(changes.rows)
        more = _places(rows, partitions[rows], offsets[rows], ~below(partitions, offsets, replay_below)[rows])
        return rows, self._pieces("chain", changes.rows.columns.take(pa.array(rows)), more)

    def _own_columns(self, changes: Changes, fresh: Flags | None) -> dict[str, pa.Array]:
        folded, target = changes.folded, self._target
        partitions, offsets = folded.partitions.to_numpy(), folded.offsets.to_numpy()
        known = np.ones(changes.count, np.bool_) if fresh is None else fresh
        more = _places(np.arange(changes.count), partitions, offsets, known)
        more["ingestd_deletes"] = pa.array(changes.deletes)
        if target.mark:
            more[target.mark] = more["ingestd_deletes"]
        for n, name in enumerate(target.optional):
            more[has(n)] = pa.array(flags_of(folded.rows.columns, presence_of(name), True))
        return more

    def _pieces(self, form: str, columns: pa.RecordBatch, more: Mapping[str, pa.Array]) -> list[bytes]:
        schema = self._forms[form]
        arrays = [more[name] if name in more else columns.column(name) for name in schema.names]
        return self._encoders[form](pa.RecordBatch.from_arrays(arrays, schema=schema.arrow_schema()))


def without_rows(rows: Rows, numbers: Sequence[int]) -> Rows:
    """`rows` without these records, which are accounted for elsewhere."""
    keep = np.ones(len(rows.records), np.bool_)
    keep[np.asarray(numbers, np.int64)] = False
    return only(rows, keep)


def _places(
    rows: NDArray[np.int64], partitions: NDArray[np.int32], offsets: NDArray[np.int64], fresh: Flags
) -> dict[str, pa.Array]:
    return {
        "ingestd_row": pa.array(rows, pa.int32()),
        "ingestd_fresh": pa.array(fresh),
        "ingestd_partition": pa.array(partitions, pa.int32()),
        "ingestd_offset": pa.array(offsets, pa.int64()),
    }
