"""What a change event tells of its table: columns with Kafka Connect's types, and the key. Knows no contract types.

Two notations lead here: Connect's own, which the JSON converter puts beside every payload, and the writer's schema in
Avro (`avro_schema`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ingestd.schema.source import SourceColumn, SourceSchema

ENVELOPE = ".Envelope"
_MOST_COLUMNS = 1600
"""PostgreSQL's own limit."""
_DEEPEST = 32
_SPELLED = {"float": "float32", "double": "float64"}
"""Connect's own names of types that its JSON writes otherwise."""


class NoSourceSchema(ValueError):
    """This is no schema of change events; `str()` says why."""


def source_schema(schema: bytes) -> SourceSchema:
    """The table in the Connect schema of an envelope, as JSON. Raises NoSourceSchema."""
    root = _document(schema)
    rows = {field.get("field"): field for field in _fields(root)}
    row = rows.get("after") or rows.get("before")
    if row is None:
        raise NoSourceSchema("its schema has neither a field after nor before: no change event")
    return SourceSchema(_columns(row), None, str(root.get("name") or "").removesuffix(ENVELOPE))


def key_columns(schema: bytes) -> tuple[str, ...]:
    """The names of the columns in the Connect schema of a record's key, as JSON. Raises NoSourceSchema."""
    return tuple(column.name for column in _columns(_document(schema)))


def _document(schema: bytes) -> dict[str, Any]:
    try:
        root = msgspec.json.decode(schema)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise NoSourceSchema("its schema is not JSON") from None
    if not isinstance(root, dict):
        raise NoSourceSchema("its schema is no object")
    return root


def _fields(struct: dict[str, Any]) -> list[dict[str, Any]]:
    fields = struct.get("fields")
    if struct.get("type") != "struct" or not isinstance(fields, list):
        raise NoSourceSchema("its schema is no struct with fields")
    if len(fields) > _MOST_COLUMNS or not all(isinstance(field, dict) for field in fields):
        raise NoSourceSchema(f"its schema has fields that are none, or more than {_MOST_COLUMNS}")
    return fields


def _columns(row: dict[str, Any]) -> tuple[SourceColumn, ...]:
    found = tuple(_column(field, field.get("field"), 0) for field in _fields(row))
    if len({column.name for column in found}) < len(found):
        raise NoSourceSchema("its schema names a column twice")
    return found


def _column(field: dict[str, Any], name: Any, depth: int) -> SourceColumn:
    kind, logical = field.get("type"), field.get("name")
    if not isinstance(kind, str) or not isinstance(name, str) or not name or depth > _DEEPEST:
        raise NoSourceSchema("its schema has a field without a name or a type")
    parameters = field.get("parameters")
    items = field.get("items")
    return SourceColumn(
        name=name,
        kind=_SPELLED.get(kind, kind),
        logical=logical if isinstance(logical, str) else None,
        parameters={k: str(v) for k, v in parameters.items()} if isinstance(parameters, dict) else {},
        optional=field.get("optional") is True,
        default=field.get("default"),
        items=_column(items, "item", depth + 1) if kind == "array" and isinstance(items, dict) else None,
    )
