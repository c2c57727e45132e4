"""Contracts as JSON Schema (draft 2020-12). Knows no files and no records.

A record that the schema refuses is refused by the contract too, but for numbers in quotes where a numeric column has
rules. What JSON Schema cannot say (digits after the point, bounds of times, options of a column) stands under
"x-ingestd", from where `importing` takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from ingestd.config.options import Column, Pipeline
from ingestd.contract.types import FLOAT_WORDS, NUMBER_TEXT, PATTERNS, TIMES, integer_limits, path_of
from ingestd.decode.text_formats import TEXT_FORMATS
from ingestd.schema.types import ColumnType, parse_type

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXTENSION = "x-ingestd"
OTHER_COLUMNS = "x-ingestd-columns"
_NO_NUL = {"$ref": "#/$defs/noNul"}
_DEFINITIONS = {"noNul": {"$comment": "no NUL character", "not": {"type": "string", "pattern": "\\u0000"}}}
_JSON_TYPES = {"bool": ["boolean"], "float4": ["number", "string"], "float8": ["number", "string"]}
_SPELT_MANY_WAYS = (*TIMES, "uuid")
"""Values that are equal need not be the same text: their enum stands under "x-ingestd" only."""
_FLOAT4_MAX = 3.4028235677973366e38
_OWN_KEYWORDS = {"name", "path", "required", "pattern", "max_length", "format", "default", "type"}


def schemas_of(pipeline: Pipeline) -> list[dict[str, Any]]:
    """One schema for each version of the pipeline's contract; the first is for records of no declared version."""
    field = pipeline.version_field
    versions = [contract.version for contract in pipeline.contract]
    first = _schema(pipeline, pipeline.column, pipeline.name)
    if field is not None and versions:
        first["not"] = _pinned(field, {"enum": versions})
    found = [first]
    for contract in pipeline.contract:
        schema = _schema(pipeline, contract.column, f"{pipeline.name}, version {contract.version}")
        if field is not None:
            schema["allOf"] = [_pinned(field, {"const": contract.version})]
        found.append(schema)
    return found


def _schema(pipeline: Pipeline, columns: Iterable[Column], title: str) -> dict[str, Any]:
    declared = list(columns)
    read = [column for column in declared if column.source == "value" and column.name != _rest(pipeline)]
    schema: dict[str, Any] = {"$schema": DIALECT, "title": title, **_object(read, pipeline)}
    schema["$defs"] = _DEFINITIONS
    others = [_options(column, set()) for column in declared if column not in read]
    if others:
        schema[OTHER_COLUMNS] = others
    if pipeline.table.delete is not None:
        schema["$comment"] = "A record that deletes may lack required fields, and a tombstone has no value at all."
    return schema


def _rest(pipeline: Pipeline) -> str | None:
    return pipeline.unknown_column if pipeline.unknown_fields == "keep" else None


def _pinned(field: str, rule: dict[str, Any]) -> dict[str, Any]:
    """The rule on a field by its path: a record with that field, and the rule kept."""
    *outer, last = field.split(".")
    schema: dict[str, Any] = {"type": "object", "properties": {last: rule}, "required": [last]}
    for key in reversed(outer):
        schema = {"type": "object", "properties": {key: schema}, "required": [key]}
    return schema


def _object(columns: list[Column], pipeline: Pipeline) -> dict[str, Any]:
    root: dict[str, Any] = {"type": "object", "properties": {}}
    for column in columns:
        *outer, last = path_of(column).split(".")
        places = [root]
        for key in outer:
            empty: dict[str, Any] = {"type": ["object", "null"], "properties": {}}
            places.append(places[-1]["properties"].setdefault(key, empty))
        places[-1]["properties"][last] = property_of(column)
        if column.required:
            for place, key in zip(places, [*outer, last], strict=True):
                place["type"] = "object"
                place["required"] = sorted({*place.get("required", []), key})
    if pipeline.unknown_fields == "dead_letter":
        _close(root, pipeline.version_field)
    return root


def _close(place: dict[str, Any], version_field: str | None) -> None:
    """No other fields, at any depth where columns are read; the version's own field is one of them."""
    if EXTENSION in place:
        return
    first, _, rest = (version_field or "").partition(".")
    if first and not rest:
        place["properties"].setdefault(first, {})
    place["additionalProperties"] = False
    for key, inner in place["properties"].items():
        if "properties" in inner:
            _close(inner, rest if key == first else None)


def property_of(column: Column) -> dict[str, Any]:
    """The schema of the column's field."""
    kind = parse_type(column.type)
    rules = _value(column, kind)
    schema: dict[str, Any] = {"type": ["array"], "items": _or_null(rules)} if kind.is_array else rules
    if not column.required:
        schema = _or_null(schema)
    elif "type" not in schema:
        schema = {**schema, "not": {"type": "null"}}
    if column.default is not None:
        schema["default"] = column.default
    schema[EXTENSION] = _options(column, _OWN_KEYWORDS | _said_by_keywords(column, kind)) | {"type": kind.name}
    if path_of(column).rpartition(".")[2] != column.name:
        schema[EXTENSION]["name"] = column.name
    if len(schema.get("type", [])) == 1:
        schema["type"] = schema["type"][0]
    return schema


def _said_by_keywords(column: Column, kind: ColumnType) -> set[str]:
    """Rules that JSON Schema holds exactly as the column has them."""
    if kind.scalar in _SPELT_MANY_WAYS:
        return set()
    texts = kind.scalar == "numeric"
    rules = {"min": column.min, "max": column.max, "enum": column.enum}
    values = {name: value if isinstance(value, tuple) else (value,) for name, value in rules.items()}
    return {name for name, given in values.items() if not (texts and any(isinstance(one, str) for one in given))}


def _value(column: Column, kind: ColumnType) -> dict[str, Any]:
    """One value, which is not null."""
    schema = _typed(column, kind)
    all_of = schema.pop("allOf")
    if kind.scalar == "varchar" and kind.args:
        all_of.append({"maxLength": kind.args[0]})
    if column.format is not None:
        form = TEXT_FORMATS[column.format]
        schema["format"] = column.format
        all_of += [{"pattern": pattern} for pattern in form.patterns]
        all_of += [{"maxLength": form.max_length}] if form.max_length is not None else []
    if column.max_length is not None:
        schema["maxLength"] = column.max_length
    if column.pattern is not None:
        schema["pattern"] = column.pattern
    if column.enum and kind.scalar not in _SPELT_MANY_WAYS:
        exact = kind.scalar == "numeric"
        schema["enum"] = [Decimal(str(value)) if exact else value for value in column.enum]
    if kind.scalar not in TIMES:
        schema |= _bounds(column, kind)
    if all_of:
        schema["allOf"] = all_of
    return schema


def _bounds(column: Column, kind: ColumnType) -> dict[str, Any]:
    limits: dict[str, Any] = dict(zip(("minimum", "maximum"), integer_limits(kind) or (), strict=False))
    for keyword, bound in (("minimum", column.min), ("maximum", column.max)):
        if bound is not None:
            limits[keyword] = Decimal(bound) if isinstance(bound, str) else bound
    return limits


def _typed(column: Column, kind: ColumnType) -> dict[str, Any]:
    match kind.scalar:
        case "text" | "varchar":
            return {"type": ["string"], "allOf": [_NO_NUL]}
        case "int2" | "int4" | "int8":
            return {"type": ["integer"], "allOf": []}
        case "float4" | "float8":
            return {"type": _JSON_TYPES[kind.scalar], "allOf": _float_rules(column, kind)}
        case "numeric":
            return {"type": ["number", "string"], "allOf": _numeric_rules(column, kind)}
        case "bool":
            return {"type": ["boolean"], "allOf": []}
        case "jsonb":
            return {"allOf": []}
        case "bytea":
            return {"type": ["string"], "contentEncoding": "base64", "allOf": [{"pattern": PATTERNS["bytea"]}]}
        case _:
            return _time_or_uuid(column, kind)


def _float_rules(column: Column, kind: ColumnType) -> list[dict[str, Any]]:
    bounded = column.min is not None or column.max is not None
    words = [] if column.enum else FLOAT_WORDS
    if bounded:
        words = [word for word in words if word == ("Infinity" if column.max is None else "-Infinity")]
        words = words if column.min is None or column.max is None else []
    rules: list[dict[str, Any]] = [{"pattern": f"^({'|'.join(words)})$" if words else "^(?!)"}]
    if kind.scalar == "float4":
        rules.append({"exclusiveMinimum": -_FLOAT4_MAX, "exclusiveMaximum": _FLOAT4_MAX})
    return rules


def _numeric_rules(column: Column, kind: ColumnType) -> list[dict[str, Any]]:
    limit = 10 ** (kind.args[0] - kind.args[1])
    rules: list[dict[str, Any]] = [{"exclusiveMinimum": -limit, "exclusiveMaximum": limit}]
    # A number in quotes is taken as well, unless rules must be kept that JSON Schema has for numbers only.
    ruled = column.enum or column.min is not None or column.max is not None
    return [*rules, {"type": ["number", "null"]} if ruled else {"pattern": NUMBER_TEXT}]


def _time_or_uuid(column: Column, kind: ColumnType) -> dict[str, Any]:
    zoned = kind.scalar in ("timestamptz", "epoch")
    name = "naive_or_zoned" if kind.scalar == "timestamp" or (zoned and column.assume_utc) else kind.scalar
    numbers = column.epoch is not None or kind.scalar == "epoch"
    if not numbers:
        return {"type": ["string"], "allOf": [{"pattern": PATTERNS[name]}]}
    number_text = f"|{NUMBER_TEXT}"
    return {"type": ["string", "number"], "allOf": [{"pattern": f"{PATTERNS[name]}{number_text}"}]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    widened = dict(schema)
    if "type" in widened:
        widened["type"] = [*widened["type"], "null"]
    if "enum" in widened:
        widened["enum"] = [*widened["enum"], None]
    return widened


def _options(column: Column, without: set[str]) -> dict[str, Any]:
    """The column's options that are not at their default."""
    given = msgspec.structs.asdict(column)
    standard = {field.name: field.default for field in msgspec.structs.fields(Column)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if name not in without and value != standard[name]
    }
