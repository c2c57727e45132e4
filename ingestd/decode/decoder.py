"""Kafka records of every format into rows, a record at a time in chunks. Knows no Kafka client and no database.

Records are never joined into one document: it is slower, and a record such as `{"id":1},{"id":2,"x":[0` would swallow
or forge its neighbours with the count still right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import compress
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, structs

from ingestd.batch import Chunk, Decode, Record, Rows, dead_letter
from ingestd.config.options import Column, Pipeline, SchemaRegistry
from ingestd.decode import columns as build
from ingestd.decode.formats.values import values_reader
from ingestd.decode.kinds import sorter_of
from ingestd.decode.marks import Marks, with_defaults
from ingestd.decode.mending import Mend, Policy, mended, mender_of, nulled, policy_of
from ingestd.decode.numbers import numerics
from ingestd.decode.plans import Plan, Plans, Presence, path_of, plans_of, presence_in
from ingestd.decode.rules import ruled
from ingestd.decode.shape import NULL, Shape, default_of, shape_of
from ingestd.decode.sources import Given, Source, key_explainer, source_of
from ingestd.decode.times import dates, epochs, moments, times, timestamps
from ingestd.decode.unknown import Known, keeper_of, known_fields, newcomers_of
from ingestd.errors import ConfigError
from ingestd.schema.types import ColumnType, parse_type

Refusals = dict[int, tuple[str | None, str]]
"""Index of a record -> (column, reason)."""

REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError, ValueError, OverflowError)
"""What reading one hostile record raises; a lack of memory is not the record's fault and passes."""


class _Document(Struct, frozen=True):
    """A JSON document in a record, and what is read of it: columns by position."""

    positions: tuple[int, ...]
    shape: Shape
    mend: Mend | None
    of_key: bool = False
    strict: Callable[[bytes], Any] | None = None
    """Reads the same, and refuses a document with an unknown field; None when unknown fields do not matter."""


class _Kind(Struct, frozen=True):
    """One kind of records, ready to be read; everything by position of the column."""

    plan: Plan
    makers: list[build.Builder]
    documents: list[_Document]
    sources: dict[int, Source]
    keep: Callable[[Sequence[bytes]], Given] | None
    newcomers: Callable[[Sequence[bytes]], dict[str, str]] | None


class _Part(Struct):
    """What became of records of one kind; `refused` by their position among them."""

    batch: pa.RecordBatch
    refused: Refusals
    new_fields: dict[str, str] = {}


def make_decoder(
    pipeline: Pipeline,
    registry: SchemaRegistry | None = None,
    ignored: Collection[str] = (),
    clock: Callable[[], float] = time.time,
) -> Decode:
    """The function from a chunk to rows. Raises ConfigError for columns that clash and for a bad default.

    `ignored` are new fields that are not to be told of again; `clock` gives seconds since 1970 for `source = "now"`.
    """
    read_values = values_reader(pipeline, registry)
    plans, presence = plans_of(pipeline), presence_in(pipeline)
    marks = Marks.of(pipeline, presence, builder_for)
    kinds = _kinds(pipeline, plans, presence, ignored, clock)
    own = kinds[id(plans.own)]
    sort = sorter_of(plans, pipeline.version_field)

    def parts_of(records: Sequence[Record], values: list[bytes | None]) -> _Part:
        if sort is None:
            return _part(own, marks, records, values)
        sorted_out, refused = sort(records, values)
        if len(sorted_out) == 1 and not refused:
            return _part(kinds[id(sorted_out[0][0])], marks, records, values)
        parts = [
            (rows, _part(kinds[id(plan)], marks, [records[row] for row in rows], [values[row] for row in rows]))
            for plan, rows in sorted_out
        ]
        return _together(parts, refused, marks.schema)

    def decode(chunk: Chunk) -> Rows:
        values, unreadable = read_values(chunk.records)
        nbytes = sum(map(len, filter(None, values)))
        part = parts_of(chunk.records, values)
        part.refused |= unreadable
        records = chunk.records if not part.refused else _without(chunk.records, part.refused)
        dead = [dead_letter(chunk.records[row], "decode", *part.refused[row]) for row in sorted(part.refused)]
        return Rows(chunk.tiles, part.batch, records, dead, nbytes, part.new_fields)

    return decode


def _kinds(
    pipeline: Pipeline, plans: Plans, presence: Presence, ignored: Collection[str], clock: Callable[[], float]
) -> dict[int, _Kind]:
    """Every plan made ready, by its identity."""
    evolves = pipeline.on_new_field == "evolve"
    known = [pipeline.version_field] if pipeline.version_field is not None else []
    # A field that any version reads, or that is the name of a column, is not new.
    read = {path_of(column) for plan in plans.every() for column in plan.columns} | {*known}
    old = Known(dict.fromkeys([*(path.partition(".")[0] for path in read), *(c.name for c in pipeline.column)]))
    made: dict[int, _Kind] = {}
    for plan in plans.every():
        makers = [builder_for(column, pipeline.on_bad) for column in plan.columns]
        _check_defaults(plan.columns, makers)
        fields = known_fields([plan.columns[position] for position in plan.value], known)
        made[id(plan)] = _Kind(
            plan=plan,
            makers=makers,
            documents=_documents(pipeline, plan, presence, known),
            sources={p: _source(pipeline, plan, p, clock) for p in plan.sourced},
            keep=keeper_of(fields) if plan.rest is not None else None,
            newcomers=newcomers_of(old, ignored) if evolves and not plan.deletes else None,
        )
    return made


def _source(pipeline: Pipeline, plan: Plan, position: int, clock: Callable[[], float]) -> Source:
    stands_for_value = pipeline.column[position].source == "value"
    return source_of(plan.columns[position], pipeline.topic, clock, base64=stands_for_value)


def _documents(pipeline: Pipeline, plan: Plan, presence: Presence, known: list[str]) -> list[_Document]:
    watches = pipeline.unknown_fields == "keep" or pipeline.on_new_field == "evolve"
    strict = pipeline.unknown_fields == "dead_letter"
    documents = []
    for positions, of_key in ((plan.value, False), (plan.key, True)):
        if (of_key or plan.deletes) and not positions:
            continue
        columns = [plan.columns[position] for position in positions]
        optional = [n for n, position in enumerate(positions) if presence.may_lack(position, columns[n])]
        if of_key:
            shape = shape_of([structs.replace(column, source="value") for column in columns], optional)
            explain = key_explainer(shape.explain, columns)
            documents.append(_Document(positions, structs.replace(shape, explain=explain), None, of_key=True))
            continue
        shape = shape_of(columns, optional, known, strict)
        mend = mender_of(columns, pipeline.on_bad, shape.read, shape.explain)
        sees_all = shape_of(columns, optional, known, strict=True).read if watches else None
        documents.append(_Document(positions, shape, mend, strict=sees_all))
    return documents


def _part(kind: _Kind, marks: Marks, records: Sequence[Record], values: list[bytes | None]) -> _Part:
    """Rows of the good ones among `records`, all of one kind."""
    given: list[Any] = [None] * len(kind.makers)
    instances, refused, unknown = _instances(kind, records, values)
    good = records if not refused else _without(records, refused)
    for document, read in zip(kind.documents, instances, strict=True):
        for position, column in zip(document.positions, document.shape.split(read), strict=True):
            given[position] = column
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
    batch, faults = _columns(given, faults, kind, marks)
    if faults:
        batch = batch.filter(build.as_mask(build.kept(len(good), faults)))
        refused = _merged(refused, faults, len(records))
    return _Part(batch, refused, new_fields)


def _take(given: list[Any], faults: Refusals, kind: _Kind, position: int, found: Given) -> None:
    given[position], bad = found
    for row, reason in bad.items():
        faults.setdefault(row, (kind.plan.columns[position].name, reason))


def _good_values(values: list[bytes | None], refused: Refusals) -> list[bytes]:
    return [value for row, value in enumerate(values) if row not in refused and value is not None]


def _instances(
    kind: _Kind, records: Sequence[Record], values: list[bytes | None]
) -> tuple[list[list[Any]], Refusals, bool]:
    """For each document the instances of the records that no document refuses; the others; whether unknown fields may
    be there."""
    read, unknown = [], False
    refused: Refusals = {}
    for document in kind.documents:
        payloads = [record.key() or b"{}" for record in records] if document.of_key else values
        instances, bad, seen = _read_document(document, payloads)
        read.append((instances, bad))
        refused = bad | refused
        unknown = unknown or seen
    if len(read) == 1 or not refused:
        return [instances for instances, _ in read], refused, unknown
    good = build.kept(len(records), refused)
    whole = [list(compress(instances, compress(good, build.kept(len(records), bad)))) for instances, bad in read]
    return whole, refused, unknown


def _read_document(document: _Document, payloads: list[Any]) -> tuple[list[Any], Refusals, bool]:
    if document.strict is not None:
        # Mostly no record has an unknown field: then nothing is read twice.
        with suppress(*REFUSALS):
            return list(map(document.strict, payloads)), {}, False
    return *_read(document.shape, payloads, document.mend), document.strict is not None


def _together(parts: list[tuple[list[int], _Part]], refused: Refusals, schema: pa.Schema) -> _Part:
    """Parts of a chunk as one, in the chunk's order; each comes with its records' positions in the chunk."""
    refused = dict(refused)
    order: list[int] = []
    new_fields: dict[str, str] = {}
    for rows, part in parts:
        refused |= {rows[row]: why for row, why in part.refused.items()}
        order += compress(rows, build.kept(len(rows), part.refused))
        new_fields = part.new_fields | new_fields
    if len(parts) == 1:
        return _Part(parts[0][1].batch, refused, new_fields)
    table = pa.Table.from_batches([part.batch for _, part in parts], schema).combine_chunks()
    table = table.take(pc.sort_indices(pa.array(order, pa.int64())))
    batches = table.combine_chunks().to_batches()
    return _Part(batches[0] if batches else pa.RecordBatch.from_pylist([], schema), refused, new_fields)


def builder_for(column: Column, on_bad: Policy = "dead_letter") -> build.Builder:
    """The builder of a column's Arrow array: what the type takes, mended by policy, then judged by the rules."""
    kind, policy = parse_type(column.type), policy_of(column, on_bad)
    if column.source in ("timestamp", "now"):
        return ruled(moments(kind), column)
    scalar = build.uuid_texts if kind.is_array and kind.scalar == "uuid" else _scalar_builder(kind, column)
    builder = mended(scalar, column, policy)
    if kind.is_array:
        builder = build.arrays(builder, kind.arrow_type().value_type)
    return ruled(nulled(builder, column, policy), column)


def _scalar_builder(kind: ColumnType, column: Column) -> build.Builder:
    simple: dict[str, build.Builder] = {
        "text": build.text,
        "varchar": build.text,
        "uuid": build.uuids,
        "jsonb": build.jsonb,
        "date": dates,
        "time": times,
    }
    match kind.scalar:
        case "numeric":
            return numerics(kind)
        case "float4" | "float8":
            return build.floats(kind)
        case "timestamptz" | "timestamp":
            return timestamps(kind, column.assume_utc, column.epoch)
        case "epoch":
            return epochs(column.epoch, column.assume_utc)
        case _:
            return simple.get(kind.scalar) or build.plain(kind.scalar_arrow_type())


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


def _columns(given: list[list[Any]], faults: Refusals, kind: _Kind, marks: Marks) -> tuple[pa.RecordBatch, Refusals]:
    """The batch of all rows, with `faults` and those that the columns' builders find."""
    arrays = []
    has: dict[int, list[bool]] = {}
    for position, (column, maker, values) in enumerate(zip(kind.plan.columns, kind.makers, given, strict=True)):
        if position in marks.optional:
            values, has[position] = with_defaults(values, column)
        built = maker(values)
        arrays.append(built.array)
        for row, reason in built.faults.items():
            faults.setdefault(row, (column.name, reason))
        # Only types read as raw text, and what is not read from a value, can still hold a null here.
        if column.required and position not in marks.forgiven and built.array.null_count > len(built.faults):
            for row in build.rows_where(built.array.is_null()):
                faults.setdefault(row, (column.name, "null in a required column"))
    marks.add(arrays, has, kind.plan, faults)
    return pa.RecordBatch.from_arrays(arrays, schema=marks.schema), faults


def _merged(refused: Refusals, faults: Refusals, total: int) -> Refusals:
    """`refused` (by record) and `faults` (by row of the records that were read) in terms of records."""
    if not refused:
        return faults
    read = list(compress(range(total), build.kept(total, refused)))
    return refused | {read[row]: why for row, why in faults.items()}


def _without(records: Sequence[Record], refused: Refusals) -> list[Record]:
    return list(compress(records, build.kept(len(records), refused)))


def _check_defaults(columns: Sequence[Column], makers: list[build.Builder]) -> None:
    problems = []
    for column, maker in zip(columns, makers, strict=True):
        if column.default is None:
            continue
        for reason in maker([default_of(column)]).faults.values():
            problems.append(f"column {column.name!r}: default is not a {parse_type(column.type).name}: {reason}")
    if problems:
        raise ConfigError(problems)
