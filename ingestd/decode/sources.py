"""Values of columns that do not come from a record's value: key, headers, place, time. Knows no JSON of values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Raw

from ingestd import run_id
from ingestd.batch import Record
from ingestd.config.options import Column
from ingestd.decode.shape import NULL, field_type, is_raw
from ingestd.schema.types import parse_type

Given = tuple[list[Any], dict[int, str]]
"""One value a record, as the column's builder wants it, and why some could not be read."""
Source = Callable[[Sequence[Record]], Given]

Explain = Callable[[Exception, bytes | None], tuple[str | None, str]]

NO_KEY = "the record has no key"
_AS_JSON = {"int2", "int4", "int8", "float4", "float8", "bool", "numeric", "jsonb"}
"""Types whose text is read as a JSON document; that of the others is the value itself."""


def source_of(column: Column, topic: str, clock: Callable[[], float], base64: bool = False) -> Source:
    """How to get a column whose `source` is not the value. Keys with a path are read elsewhere, as documents.

    `clock` gives seconds since 1970; `base64`: a bytea is in the key as JSON would have it.
    """
    match column.source:
        case "topic":
            return lambda records: ([topic] * len(records), {})
        case "partition":
            return lambda records: ([record.partition() for record in records], {})
        case "offset":
            return lambda records: ([record.offset() for record in records], {})
        case "timestamp":
            return _timestamps
        case "now":
            return lambda records: ([int(clock() * 1000)] * len(records), {})
        case "run":
            return _of_run()
        case "headers":
            return lambda records: ([_headers(record) for record in records], {})
        case _:
            return _key_source(column, base64)


def _of_run() -> Source:
    """The id of the run that this decoder is part of; null in a command that is none, such as `ingestd check`."""
    run = run_id.current()
    found = run and run.run_id
    return lambda records: ([found] * len(records), {})


def _key_source(column: Column, base64: bool) -> Source:
    read = _key_reader(column, base64)

    def values(records: Sequence[Record]) -> Given:
        keys = [record.key() for record in records]
        missing = None in keys
        try:
            found = read([b"" if key is None else key for key in keys]) if not missing else _each(read, keys)
        except _UNREADABLE:
            found = _each(read, keys)
        if not missing or not column.required:
            return found
        return found[0], found[1] | {row: NO_KEY for row, key in enumerate(keys) if key is None}

    def _each(read: Callable[[list[bytes]], Given], keys: list[bytes | None]) -> Given:
        nothing = NULL if is_raw(column) else None
        found: list[Any] = []
        faults: dict[int, str] = {}
        for row, key in enumerate(keys):
            value: Any = nothing
            if key is not None:
                try:
                    ((value,), bad) = read([key])
                except _UNREADABLE:
                    value, bad = nothing, {0: f"the record's key is not a {parse_type(column.type).name}"}
                if bad:
                    faults[row] = bad[0]
            found.append(value)
        return found, faults

    return values


_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeError, pa.ArrowInvalid, ValueError, TypeError)


def _key_reader(column: Column, base64: bool) -> Callable[[list[bytes]], Given]:
    """Raises one of `_UNREADABLE` when any key is not of the type."""
    kind = parse_type(column.type)
    if kind.scalar in _AS_JSON:
        decode = msgspec.json.Decoder(Raw if is_raw(column) else field_type(column)).decode
        return lambda keys: (list(map(decode, keys)), {})
    if kind.scalar == "bytea" and not base64:
        return lambda keys: (list(keys), {})
    if kind.scalar == "bytea" or (kind.scalar == "varchar" and kind.args):
        wanted = field_type(column)
        return lambda keys: ([msgspec.convert(text, wanted) for text in _texts(keys)], {})
    return lambda keys: (_texts(keys), {})


def key_explainer(explain: Explain, columns: Sequence[Column]) -> Explain:
    """`explain` for a document that is a record's key: it always names a column."""

    def explain_key(error: Exception, key: bytes | None) -> tuple[str | None, str]:
        column, reason = explain(error, key)
        return column or columns[0].name, f"in the record's key: {reason}"

    return explain_key


def _texts(keys: list[bytes]) -> list[str]:
    texts: list[str] = pa.array(keys, pa.binary()).cast(pa.string()).to_pylist()
    return texts


def _timestamps(records: Sequence[Record]) -> Given:
    """Milliseconds; a broker too old to have them says -1, or kind 0."""
    stamps = [record.timestamp() for record in records]
    return [ms if kind and ms >= 0 else None for kind, ms in stamps], {}


def _headers(record: Record) -> Raw:
    """A JSON object by name: a text, null, or {"base64": ..} for bytes that are not UTF-8; a list of these for a name
    that comes more than once."""
    headers = record.headers()
    if not headers:
        return NULL
    found: dict[str, Any] = {}
    repeated = set()
    for name, value in headers:
        shown = _shown(value)
        if name not in found:
            found[name] = shown
        elif name in repeated:
            found[name].append(shown)
        else:
            repeated.add(name)
            found[name] = [found[name], shown]
    return Raw(msgspec.json.encode(found))


def _shown(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode()}
