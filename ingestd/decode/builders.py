"""The builder of a column's Arrow array: by its type, mended by policy, judged by its rules. Knows no records."""

from __future__ import annotations

from ingestd.config.options import Column
from ingestd.decode import columns as build
from ingestd.decode.mending import Policy, mended, nulled, policy_of
from ingestd.decode.numbers import numerics
from ingestd.decode.rules import ruled
from ingestd.decode.times import dates, epochs, moments, times, timestamps
from ingestd.schema.types import ColumnType, parse_type


def builder_for(column: Column, on_bad: Policy = "dead_letter", scalar: build.Builder | None = None) -> build.Builder:
    """The builder of a column's Arrow array: what the type takes, mended by policy, then judged by the rules.

    `scalar` builds the values, or the elements of an array column, where they do not come as JSON has them.
    """
    kind, policy = parse_type(column.type), policy_of(column, on_bad)
    if column.source in ("timestamp", "now"):
        return ruled(moments(kind), column)
    if scalar is None:
        scalar = build.uuid_texts if kind.is_array and kind.scalar == "uuid" else _scalar_builder(kind, column)
        scalar = mended(scalar, column, policy)
    builder = scalar
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
