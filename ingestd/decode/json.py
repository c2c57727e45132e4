"""Kafka records with JSON values into rows, a record at a time in chunks. Knows no Kafka client and no database.

Records are never joined into one document: it is slower, and a record such as `{"id":1},{"id":2,"x":[0` would swallow
or forge its neighbours with the count still right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import msgspec
import pyarrow as pa

from ingestd.batch import Chunk, Decode, Record, Rows, dead_letter
from ingestd.config.options import Column, Pipeline
from ingestd.decode import columns as build
from ingestd.decode.mending import Mend, Policy, mended, mender_of, nulled, policy_of
from ingestd.decode.numbers import numerics
from ingestd.decode.rules import ruled
from ingestd.decode.shape import Shape, default_of, shape_of
from ingestd.decode.times import dates, times, timestamps
from ingestd.errors import ConfigError
from ingestd.schema import Schema
from ingestd.schema_types import ColumnType, parse_type

Refusals = dict[int, tuple[str | None, str]]
"""Index of a record -> (column, reason)."""

REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError, ValueError, OverflowError)
"""What reading one hostile record raises; a lack of memory is not the record's fault and passes."""


def make_decoder(pipeline: Pipeline) -> Decode:
    """The function from a chunk to rows. Raises ConfigError for columns that clash and for a bad default."""
    shape = shape_of(pipeline.column)
    schema = Schema.of(pipeline.column).arrow_schema()
    makers = [builder_for(column, pipeline.on_bad) for column in pipeline.column]
    mend = mender_of(pipeline.column, pipeline.on_bad, shape.read, shape.explain)
    _check_defaults(pipeline.column, makers)

    def decode(chunk: Chunk) -> Rows:
        values = [record.value() for record in chunk.records]
        instances, refused = _read(shape, values, mend)
        records = chunk.records if not refused else _without(chunk.records, refused)
        batch, faults = _columns(instances, shape, makers, pipeline.column, schema)
        if faults:
            batch = batch.filter(build.as_mask(build.kept(len(records), faults)))
            refused = _merged(refused, faults, len(chunk.records))
            records = _without(chunk.records, refused)
        dead = [dead_letter(chunk.records[row], "decode", *refused[row]) for row in sorted(refused)]
        return Rows(chunk.tiles, batch, records, dead, sum(map(len, filter(None, values))))

    return decode


def builder_for(column: Column, on_bad: Policy = "dead_letter") -> build.Builder:
    """The builder of a column's Arrow array: what the type takes, mended by policy, then judged by the rules."""
    kind, policy = parse_type(column.type), policy_of(column, on_bad)
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
                continue
            refused[row] = shape.explain(error, values[row])
        else:
            return instances, refused


def _columns(
    instances: list[Any], shape: Shape, makers: list[build.Builder], declared: Sequence[Column], schema: pa.Schema
) -> tuple[pa.RecordBatch, Refusals]:
    arrays = []
    faults: Refusals = {}
    for column, maker, values in zip(declared, makers, shape.split(instances), strict=True):
        built = maker(values)
        arrays.append(built.array)
        for row, reason in built.faults.items():
            faults.setdefault(row, (column.name, reason))
        # Only types read as raw text can still hold a null here; msgspec refused it for the others.
        if column.required and built.array.null_count > len(built.faults):
            for row in build.rows_where(built.array.is_null()):
                faults.setdefault(row, (column.name, "null in a required column"))
    return pa.RecordBatch.from_arrays(arrays, schema=schema), faults


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
