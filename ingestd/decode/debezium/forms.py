"""In which form the values of a source's column come, and what makes the contract's column of them. Knows no records.

By the schema of the event where it brings one, else by the declared type and `[pipeline.cdc]`. A column without a form
of its own comes as JSON has it, and is read like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta, Raw, Struct

from ingestd.config.options import Column
from ingestd.decode import columns as build
from ingestd.decode.columns import Builder, Built, without
from ingestd.decode.debezium.decimals import VariableDecimal, decimals
from ingestd.decode.debezium.temporals import days, moments_since, times_of_day, zoned
from ingestd.decode.debezium.types import BITS, DECIMAL, SOURCE_TYPE, VARIABLE_DECIMAL
from ingestd.decode.times import dates, times, timestamps
from ingestd.schema.source import SourceColumn
from ingestd.schema.types import ColumnType, parse_type

_INT64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_TIMES = {
    "io.debezium.time.Time": "ms",
    "org.apache.kafka.connect.data.Time": "ms",
    "io.debezium.time.MicroTime": "us",
    "io.debezium.time.NanoTime": "ns",
}
_TIMESTAMPS = {
    "io.debezium.time.Timestamp": "ms",
    "org.apache.kafka.connect.data.Timestamp": "ms",
    "io.debezium.time.MicroTimestamp": "us",
    "io.debezium.time.NanoTimestamp": "ns",
}
_DATES = ("io.debezium.time.Date", "org.apache.kafka.connect.data.Date")
_ISO = {"io.debezium.time.IsoDate": dates, "io.debezium.time.IsoTime": times}
_TEXTS = ("text", "varchar")
_MOST_BITS = 1_000_000
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError)


class Form(Struct, frozen=True):
    """How the values of one column are read; of an array column: its elements."""

    read: Any
    """What msgspec reads; null comes beside."""
    build: Builder


def form_of(source: SourceColumn | None, column: Column, decimal_mode: str) -> Form | None:
    """The form of `column`, whose values come from `source` (None: the events bring no schema).

    None when they come as for any other format. A type that cannot hold what comes has a form that refuses it.
    """
    kind = parse_type(column.type)
    if source is None:
        return _declared(kind, column, decimal_mode)
    if not kind.is_array:
        return _scalar(source, kind)
    if source.kind == "array" and source.items is not None:
        return _scalar(source.items, ColumnType(kind.scalar, kind.args))
    return None


def _scalar(source: SourceColumn, kind: ColumnType) -> Form | None:
    """By what the event says of the column."""
    if kind.scalar == "jsonb":
        return Form(str, _json_texts) if source.logical == "io.debezium.data.Json" else None
    found: Form | None = None
    logical = source.logical
    if source.native:
        return Form(Raw, _any_texts) if kind.scalar in _TEXTS and source.kind != "string" else None
    if logical == DECIMAL:
        return Form(bytes, decimals(kind, _int(source.parameters.get("scale"))))
    if logical == VARIABLE_DECIMAL:
        return Form(VariableDecimal, decimals(kind, 0))
    if logical in _DATES:
        found = _integers(days(kind))
    elif logical in _TIMES:
        found = _integers(times_of_day(kind, _TIMES[logical]))
    elif logical in _TIMESTAMPS:
        found = _integers(moments_since(kind, _TIMESTAMPS[logical]))
    elif logical == "io.debezium.time.ZonedTimestamp" and kind.scalar in ("timestamptz", "timestamp"):
        return Form(str, zoned(kind))
    elif logical == BITS:
        return Form(bytes, _bits(_width(source))) if kind.scalar in _TEXTS else None
    elif logical in _ISO and kind.scalar == _ISO[logical].__name__[:-1]:
        return Form(str, _without_zone(_ISO[logical]))
    if found is None and kind.scalar in _TEXTS and source.kind != "string":
        return Form(Raw, _any_texts)
    temporal = logical in _TIMES or logical in _TIMESTAMPS or logical in _DATES
    if found is None and temporal and kind.scalar not in ("int2", "int4", "int8"):
        return Form(Raw, _refused(kind, f"comes as {logical}, which {kind.name} cannot hold"))
    return found


def _declared(kind: ColumnType, column: Column, decimal_mode: str) -> Form | None:
    """By what the pipeline says, with Debezium's defaults: dates are days, times and timestamps microseconds."""
    scalar = ColumnType(kind.scalar, kind.args)
    match kind.scalar:
        case "numeric" if decimal_mode == "precise":
            return Form(bytes | VariableDecimal, decimals(scalar, kind.args[1]))
        case "date":
            return _either(days(scalar), dates)
        case "time":
            return _either(times_of_day(scalar, "us"), times)
        case "timestamp":
            return _either(moments_since(scalar, column.epoch or "us"), timestamps(scalar, True, None))
        case "jsonb":
            return Form(Raw, _json_or_text) if not kind.is_array else None
        case _:
            return None


def _integers(builder: Builder | None) -> Form | None:
    return Form(_INT64, builder) if builder is not None else None


def _either(numbers: Builder | None, texts: Builder) -> Form:
    """Integers in Debezium's form, and ISO-8601 text, which its isostring mode and other converters write."""
    assert numbers is not None
    from_numbers = numbers

    def build_either(values: list[Any]) -> Built:
        kinds = set(map(type, values)) - {type(None)}
        if kinds <= {int}:
            return from_numbers(values)
        plain = texts([_bare(value) if type(value) is str else None for value in values])
        if kinds == {str}:
            return plain
        counted = from_numbers([value if type(value) is int else None for value in values])
        return Built(pc.coalesce(counted.array, plain.array), counted.faults | plain.faults)

    return Form(_INT64 | str, build_either)


def _bare(text: str) -> str:
    """IsoDate and IsoTime end in a Z, which a date has not."""
    return text[:-1] if text[-1:] == "Z" else text


def _without_zone(builder: Builder) -> Builder:
    return lambda values: builder([None if value is None else _bare(value) for value in values])


def _int(text: str | None) -> int:
    try:
        return int(text or "0")
    except ValueError:
        return 0


def _width(source: SourceColumn) -> int:
    """Binary digits of each value; 0 when they vary (bit varying, whose leading zeros Debezium does not send)."""
    width = _int(source.parameters.get("length"))
    varies = source.parameters.get(SOURCE_TYPE) == "VARBIT"
    return 0 if varies or width > _MOST_BITS else width


def _bits(width: int) -> Builder:
    def digits(value: bytes | None) -> str | None:
        if value is None:
            return None
        written = "".join(format(byte, "08b") for byte in reversed(value)).lstrip("0")
        return written.rjust(width, "0")

    return lambda values: Built(pa.array([digits(value) for value in values], pa.string()), {})


def _refused(kind: ColumnType, reason: str) -> Builder:
    def build_nothing(values: list[Any]) -> Built:
        faults = {row: reason for row, value in enumerate(values) if value is not None and bytes(value) != b"null"}
        return Built(pa.nulls(len(values), kind.scalar_arrow_type()), faults)

    return build_nothing


def _json_texts(values: list[str | None]) -> Built:
    """JSON inside of a text; its null is a value of its own here, unlike SQL's."""
    check: Callable[[Any], Raw] = msgspec.json.Decoder(Raw).decode
    faults: dict[int, str] = {}
    array = pa.array(values, pa.string())
    try:
        for value in values:
            if value is not None:
                check(value)
    except _UNREADABLE:
        faults = _no_json(values, check)
    if (data := array.buffers()[2]) is not None and b"\\u0000" in data.to_pybytes():
        raws = [Raw(b"0") if value is None or row in faults else Raw(value) for row, value in enumerate(values)]
        faults |= build.jsonb(raws).faults
    return without(array, faults)


def _no_json(values: Sequence[str | None], check: Callable[[Any], Raw]) -> dict[int, str]:
    faults = {}
    for row, value in enumerate(values):
        try:
            check("0" if value is None else value)
        except _UNREADABLE:
            faults[row] = "not JSON"
    return faults


def _json_or_text(values: list[Raw]) -> Built:
    """jsonb of unknown origin: a text that holds JSON is that JSON, any other value is what it is."""
    check: Callable[[Any], Raw] = msgspec.json.Decoder(Raw).decode
    found: list[Raw] = []
    inner_nulls = []
    for row, value in enumerate(values):
        text = bytes(value)
        if text[:1] == b'"':
            try:
                value = check(msgspec.json.decode(text, type=str))
            except _UNREADABLE:
                value = Raw(text)
            if bytes(value) == b"null":
                inner_nulls.append(row)
        found.append(value)
    built = build.jsonb(found)
    if not inner_nulls:
        return built
    mask = pa.array([row in set(inner_nulls) for row in range(len(values))], pa.bool_())
    return Built(pc.if_else(mask, pa.scalar("null"), built.array), built.faults)


def _any_texts(values: list[Raw | None]) -> Built:
    """Any JSON value as text: texts as they are, others as JSON writes them."""
    texts: list[str | None] = []
    faults: dict[int, str] = {}
    for row, value in enumerate(values):
        written = b"null" if value is None else bytes(value)
        text = None
        try:
            if written[:1] == b'"':
                text = msgspec.json.decode(written, type=str)
            elif written != b"null":
                text = written.decode()
        except _UNREADABLE:
            faults[row] = "holds what is no text"
        texts.append(text)
    built = build.text(texts)
    return Built(built.array, built.faults | faults)
