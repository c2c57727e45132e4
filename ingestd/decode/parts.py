"""Records of one kind into rows: read, built column by column, the refused among them apart. Knows no Kafka client.

Records are never joined into one document: it is slower, and a record such as `{"id":1},{"id":2,"x":[0` would swallow
or forge its neighbours with the count still right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import compress
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.batch import Record
from ingestd.config.options import Column
from ingestd.decode import columns as build
from ingestd.decode.marks import Marks, with_defaults
from ingestd.decode.mending import Mend
from ingestd.decode.plans import Plan
from ingestd.decode.shape import NULL, Shape, default_of
from ingestd.decode.sources import Given, Source
from ingestd.errors import ConfigError
from ingestd.schema.types import parse_type

Refusals = dict[int, tuple[str | None, str]]
"""Index of a record -> (column, reason)."""

REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError, ValueError, OverflowError)
"""What reading one hostile record raises; a lack of memory is not the record's fault and passes."""


class Document(Struct, frozen=True):
    """A JSON document in a record, and what is read of it: columns by position."""

    positions: tuple[int, ...]
    shape: Shape
    mend: Mend | None
    of_key: bool = False
    strict: Callable[[bytes], Any] | None = None
    """Reads the same, and refuses a document with an unknown field; None when unknown fields do not matter."""
    whole: Shape | None = None
    """Reads only documents that lack no field: where there is one, it is tried first."""


class Kind(Struct, frozen=True):
    """One kind of records, ready to be read; everything by position of the column."""

    plan: Plan
    makers: list[build.Builder]
    documents: list[Document]
    sources: dict[int, Source]
    lenient: frozenset[int]
    """Columns in whose values ABSENT may stand."""
    defaults: Mapping[int, Any] = {}
    """What stands for ABSENT where it is not the column's default."""
    keep: Callable[[Sequence[bytes]], Given] | None = None
    newcomers: Callable[[Sequence[bytes]], dict[str, str]] | None = None


class Part(Struct):
    """What became of records of one kind; `refused` by their position among them."""

    batch: pa.RecordBatch
    refused: Refusals
    new_fields: dict[str, str] = {}


class _Read(Struct, frozen=True):
    """The instances of a document's good records, why the others are refused, and the shape that read them."""

    shape: Shape
    instances: list[Any]
    refused: Refusals
    unknown: bool = False
    """Whether unknown fields may be there."""


def part_of(
    kind: Kind,
    marks: Marks,
    records: Sequence[Record],
    values: list[bytes | None],
    beside: Mapping[int, Sequence[Any]] | None = None,
) -> Part:
    """Rows of the good ones among `records`, all of one kind; `values` are their documents.

    `beside` has the columns that are handed over, one value a record, by position.
    """
    given: list[Any] = [None] * len(kind.makers)
    lenient = kind.lenient
    documents, refused, unknown = _instances(kind, records, values)
    good = without(records, refused)
    for document, read in zip(kind.documents, documents, strict=True):
        for position, column in zip(document.positions, read.shape.split(read.instances), strict=True):
            given[position] = column
        if read.shape is document.whole:
            lenient -= frozenset(document.positions)
    for position, values_beside in (beside or {}).items():
        given[position] = list(without(values_beside, refused))
    faults: Refusals = {}
    for position, source in kind.sources.items():
        _take(given, faults, kind, position, source(good))
    for position in kind.plan.absent:
        given[position] = [default_of(kind.plan.columns[position])] * len(good)
    new_fields = {}
    if kind.plan.rest is not None:
        found = kind.keep(_good_values(values, refused)) if kind.keep and unknown else ([NULL] * len(good), {})
        _take(given, faults, kind, kind.plan.rest, found)
    if kind.newcomers and unknown:
        new_fields = kind.newcomers(_good_values(values, refused))
    batch, faults = _columns(given, faults, kind, marks, lenient)
    if faults:
        batch = batch.filter(build.as_mask(build.kept(len(good), faults)))
        refused = _merged(refused, faults, len(records))
    return Part(batch, refused, new_fields)


def _take(given: list[Any], faults: Refusals, kind: Kind, position: int, found: Given) -> None:
    given[position], bad = found
    for row, reason in bad.items():
        faults.setdefault(row, (kind.plan.columns[position].name, reason))


def _good_values(values: list[bytes | None], refused: Refusals) -> list[bytes]:
    return [value for row, value in enumerate(values) if row not in refused and value is not None]


def _instances(kind: Kind, records: Sequence[Record], values: list[bytes | None]) -> tuple[list[_Read], Refusals, bool]:
    """What was read of each document, of the records that no document refuses; the others; whether unknown fields may
    be there."""
    found, unknown = [], False
    refused: Refusals = {}
    for document in kind.documents:
        payloads = [record.key() or b"{}" for record in records] if document.of_key else values
        read = _read_document(document, payloads)
        found.append(read)
        refused = read.refused | refused
        unknown = unknown or read.unknown
    if len(found) == 1 or not refused:
        return found, refused, unknown
    good = build.kept(len(records), refused)
    whole = [
        _Read(read.shape, list(compress(read.instances, compress(good, build.kept(len(records), read.refused)))), {})
        for read in found
    ]
    return whole, refused, unknown


def _read_document(document: Document, payloads: list[Any]) -> _Read:
    if document.strict is not None:
        # Mostly no record has an unknown field: then nothing is read twice.
        with suppress(*REFUSALS):
            return _Read(document.shape, list(map(document.strict, payloads)), {})
    elif document.whole is not None:
        with suppress(*REFUSALS):
            return _Read(document.whole, list(map(document.whole.read, payloads)), {})
    return _Read(document.shape, *_read(document.shape, payloads, document.mend), document.strict is not None)


def together(parts: list[tuple[list[int], Part]], refused: Refusals, schema: pa.Schema) -> Part:
    """Parts of a chunk as one, in the chunk's order; each comes with its records' positions in the chunk."""
    refused = dict(refused)
    order: list[int] = []
    new_fields: dict[str, str] = {}
    for rows, part in parts:
        refused |= {rows[row]: why for row, why in part.refused.items()}
        order += compress(rows, build.kept(len(rows), part.refused))
        new_fields = part.new_fields | new_fields
    if len(parts) == 1:
        return Part(parts[0][1].batch, refused, new_fields)
    table = pa.Table.from_batches([part.batch for _, part in parts], schema).combine_chunks()
    table = table.take(pc.sort_indices(pa.array(order, pa.int64())))
    batches = table.combine_chunks().to_batches()
    return Part(batches[0] if batches else pa.RecordBatch.from_pylist([], schema), refused, new_fields)


def _read(shape: Shape, values: list[bytes | None], mend: Mend | None = None) -> tuple[list[Any], Refusals]:
    """Instances of the good values, and why the others are refused.

    `extend` keeps what it has when the reader raises, and the iterator stands behind the culprit: a bad record costs
    one exception, not a second pass over its neighbours.
    """
    instances: list[Any] = []
    refused: Refusals = {}
    waiting = iter(values)
    read: Callable[[Any], Any] = shape.read
    while True:
        try:
            instances.extend(map(read, waiting))
        except REFUSALS as error:
            row = len(instances) + len(refused)
            again = mend(values[row]) if mend else None
            if again is not None:
                instances.append(again.instance)
                values[row] = again.document  # Unknown fields are looked for in what was mended.
                continue
            refused[row] = shape.explain(error, values[row])
        else:
            return instances, refused


def _columns(
    given: list[list[Any]], faults: Refusals, kind: Kind, marks: Marks, lenient: frozenset[int]
) -> tuple[pa.RecordBatch, Refusals]:
    """The batch of all rows, with `faults` and those that the columns' builders find."""
    arrays = []
    has: dict[int, list[bool]] = {}
    for position, (column, maker, values) in enumerate(zip(kind.plan.columns, kind.makers, given, strict=True)):
        if position in lenient:
            default = kind.defaults[position] if position in kind.defaults else default_of(column)
            values, has[position] = with_defaults(values, default)
        built = maker(values)
        arrays.append(built.array)
        for row, reason in built.faults.items():
            faults.setdefault(row, (column.name, reason))
        # Only types read as raw text, and what is not read from a value, can still hold a null here.
        if column.required and position not in marks.forgiven and built.array.null_count > len(built.faults):
            for row, why in _lacking(built.array, has.get(position), position in marks.presence.tracked):
                faults.setdefault(row, (column.name, why))
    marks.add(arrays, has, kind.plan, faults)
    return pa.RecordBatch.from_arrays(arrays, schema=marks.schema), faults


def _lacking(array: pa.Array, had: list[bool] | None, may_lack: bool) -> list[tuple[int, str]]:
    """Rows of a required column that are null, and what is wrong with that; `may_lack`: a record without the field
    leaves the stored value as it is."""
    rows = build.rows_where(array.is_null())
    if had is None:
        return [(row, "null in a required column") for row in rows]
    rows = [row for row in rows if had[row] or not may_lack]
    return [(row, "null in a required column" if had[row] else "missing") for row in rows]


def _merged(refused: Refusals, faults: Refusals, total: int) -> Refusals:
    """`refused` (by record) and `faults` (by row of the records that were read) in terms of records."""
    if not refused:
        return faults
    read = list(compress(range(total), build.kept(total, refused)))
    return refused | {read[row]: why for row, why in faults.items()}


def without(values: Sequence[Any], refused: Refusals) -> Sequence[Any]:
    """`values`, one a record, of the records that are not refused."""
    return list(compress(values, build.kept(len(values), refused))) if refused else values


def check_defaults(columns: Sequence[Column], makers: list[build.Builder]) -> None:
    problems = []
    for column, maker in zip(columns, makers, strict=True):
        if column.default is None:
            continue
        for reason in maker([default_of(column)]).faults.values():
            problems.append(f"column {column.name!r}: default is not a {parse_type(column.type).name}: {reason}")
    if problems:
        raise ConfigError(problems)
