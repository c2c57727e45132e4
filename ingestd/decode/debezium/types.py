"""Which contract type holds what a source's column holds, without loss. Knows no records."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ingestd.config.options import Column
from ingestd.schema.source import SourceColumn, SourceSchema
from ingestd.schema.types import MAX_PRECISION, ColumnType, parse_type

DECIMAL = "org.apache.kafka.connect.data.Decimal"
VARIABLE_DECIMAL = "io.debezium.data.VariableScaleDecimal"
BITS = "io.debezium.data.Bits"
SOURCE_TYPE = "__debezium.source.column.type"
_SOURCE_LENGTH = "__debezium.source.column.length"
_SOURCE_SCALE = "__debezium.source.column.scale"
_PRECISION = "connect.decimal.precision"

_MOST_SCALE = 1000
_SCALES = 2048
"""PostgreSQL has scales from -1000 to 1000, kept in 11 bits; Debezium tells a negative one as if it had no sign."""

_PLAIN = {
    "int8": "int2",
    "int16": "int2",
    "int32": "int4",
    "int64": "int8",
    "float32": "float4",
    "float64": "float8",
    "boolean": "bool",
    "string": "text",
    "bytes": "bytea",
}
_LOGICAL = {
    "io.debezium.time.Date": "date",
    "io.debezium.time.IsoDate": "date",
    "org.apache.kafka.connect.data.Date": "date",
    "io.debezium.time.Time": "time",
    "io.debezium.time.MicroTime": "time",
    "io.debezium.time.NanoTime": "time",
    "io.debezium.time.IsoTime": "time",
    "org.apache.kafka.connect.data.Time": "time",
    "io.debezium.time.Timestamp": "timestamp",
    "io.debezium.time.MicroTimestamp": "timestamp",
    "io.debezium.time.NanoTimestamp": "timestamp",
    "io.debezium.time.IsoTimestamp": "timestamp",
    "org.apache.kafka.connect.data.Timestamp": "timestamp",
    "io.debezium.time.ZonedTimestamp": "timestamptz",
    "io.debezium.time.ZonedTime": "text",
    "io.debezium.data.Uuid": "uuid",
    "io.debezium.data.Json": "jsonb",
    BITS: "text",
    VARIABLE_DECIMAL: "text",
}
_WIDER = {"int2": ("int4", "int8", "float8"), "int4": ("int8", "float8"), "float4": ("float8",)}
"""Contract types that take every value of another one as it is."""


def contract_columns(columns: Sequence[SourceColumn], key: Collection[str] = ()) -> tuple[Column, ...]:
    """Columns for a pipeline, in the source's order; those of `key` are required.

    The others are not, also where the source says NOT NULL: an update may come without a TOASTed value. What no
    contract type holds is jsonb.
    """
    return tuple(
        Column(name=column.name, type=contract_type(column), required=column.name in key) for column in columns
    )


def contract_type(column: SourceColumn) -> str:
    """The contract's type for a column: one that holds each of its values exactly."""
    if column.logical == DECIMAL:
        return _numeric(column.parameters.get(_PRECISION), column.parameters.get("scale"))
    if column.logical in _LOGICAL:
        return _LOGICAL[column.logical]
    if column.kind == "array" and column.items is not None:
        element = contract_type(column.items)
        whole = element.endswith("[]") or column.items.kind in ("map", "struct", "union")
        return "jsonb" if whole and column.items.logical != VARIABLE_DECIMAL else f"{element}[]"
    if column.kind == "string" and column.parameters.get(SOURCE_TYPE) in ("NUMERIC", "DECIMAL"):
        # decimal.handling.mode = string, and the connector is asked to tell the source's types.
        return _numeric(column.parameters.get(_SOURCE_LENGTH), column.parameters.get(_SOURCE_SCALE, "0"))
    return _PLAIN.get(column.kind, "jsonb")


def _numeric(precision: str | None, scale: str | None) -> str:
    """numeric(p,s) of a contract, whose scale lies between 0 and its precision; text when that has too many digits."""
    try:
        fraction = int(scale or "0")
        digits = MAX_PRECISION if precision is None else int(precision)
    except ValueError:
        return "text"
    if fraction > _MOST_SCALE:
        fraction -= _SCALES
    whole = max(digits - fraction, 0)
    fraction = max(fraction, 0)
    if precision is None:
        # Money, and other connectors' decimals of which only the scale is known.
        return f"numeric({MAX_PRECISION},{fraction})" if fraction <= MAX_PRECISION else "text"
    total = whole + fraction
    return f"numeric({total},{fraction})" if 0 < total <= MAX_PRECISION else "text"


def uncovered(schema: SourceSchema, columns: Sequence[Column]) -> list[Column]:
    """The contract columns of `schema` that `columns` do not have, or have with a type that not every value fits."""
    own = {column.path or column.name: column for column in columns if column.source == "value"}
    found = []
    for seen in contract_columns(schema.columns, schema.key or ()):
        known = own.get(seen.name)
        if known is None or not covers(parse_type(known.type), parse_type(seen.type)):
            found.append(seen)
    return found


def covers(stored: ColumnType, seen: ColumnType) -> bool:
    """Whether a column of type `stored` takes every value of type `seen`, and none changes by that."""
    if stored.is_array != seen.is_array:
        return False
    if stored.scalar == "text" and not stored.is_array:
        return True
    if stored.scalar == seen.scalar == "numeric":
        (precision, scale), (digits, fraction) = stored.args, seen.args
        return scale >= fraction and precision - scale >= digits - fraction
    if stored.scalar == seen.scalar == "varchar":
        return not stored.args or (bool(seen.args) and stored.args[0] >= seen.args[0])
    if stored.scalar == "numeric" and seen.scalar in ("int2", "int4", "int8"):
        return stored.args[0] - stored.args[1] >= {"int2": 5, "int4": 10, "int8": 19}[seen.scalar]
    return stored.scalar == seen.scalar or stored.scalar in _WIDER.get(seen.scalar, ())
