"""Tables out of the Avro schemas of change events, as Connect's Avro converter writes them. Knows no registry."""

from __future__ import annotations

from typing import Any

import msgspec

from ingestd.decode.debezium.schema import ENVELOPE, NoSourceSchema
from ingestd.schema.source import SourceColumn, SourceSchema

_KINDS = {
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "boolean": "boolean",
    "string": "string",
    "enum": "string",
    "bytes": "bytes",
    "fixed": "bytes",
    "array": "array",
    "map": "map",
    "record": "struct",
}
_DEEPEST = 32


def avro_source_schema(text: str, parts: dict[str, str] | None = None) -> SourceSchema:
    """The table in the Avro schema of an envelope; `parts` are the schemas it refers to. Raises NoSourceSchema."""
    named: dict[str, Any] = {}
    for part in (parts or {}).values():
        _note(_document(part), "", named, 0)
    root = _document(text)
    _note(root, "", named, 0)
    rows = {field.get("name"): field for field in _fields(root)}
    row = rows.get("after") or rows.get("before")
    if row is None:
        raise NoSourceSchema("its schema has neither a field after nor before: no change event")
    record, _ = _without_null(row.get("type"), named)
    columns = tuple(_column(field, named, 0) for field in _fields(record))
    name = str(root.get("connect.name") or f"{root.get('namespace', '')}.{root.get('name', '')}".strip("."))
    return SourceSchema(columns, None, name.removesuffix(ENVELOPE))


def avro_key_columns(text: str) -> tuple[str, ...]:
    """The names of the columns in the Avro schema of a record's key. Raises NoSourceSchema."""
    return tuple(str(field.get("name")) for field in _fields(_document(text)))


def _document(text: str) -> dict[str, Any]:
    try:
        root = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise NoSourceSchema("its schema is not JSON") from None
    if not isinstance(root, dict):
        raise NoSourceSchema("its schema is no record")
    return root


def _fields(record: Any) -> list[dict[str, Any]]:
    fields = record.get("fields") if isinstance(record, dict) else None
    if not isinstance(fields, list) or not all(isinstance(f, dict) and isinstance(f.get("name"), str) for f in fields):
        raise NoSourceSchema("its schema is no record with fields")
    return fields


def _note(schema: Any, namespace: str, named: dict[str, Any], depth: int) -> None:
    """Remember every type that has a name: later uses name it only."""
    if depth > _DEEPEST:
        raise NoSourceSchema("its schema is nested too deeply")
    if isinstance(schema, list):
        for branch in schema:
            _note(branch, namespace, named, depth + 1)
    if not isinstance(schema, dict):
        return
    namespace = str(schema.get("namespace") or namespace)
    if isinstance(name := schema.get("name"), str) and schema.get("type") in ("record", "enum", "fixed"):
        named[name] = named[f"{namespace}.{name}"] = schema
    for inner in ("type", "items", "values"):
        _note(schema.get(inner), namespace, named, depth + 1)
    for field in schema.get("fields") or ():
        _note(field.get("type") if isinstance(field, dict) else None, namespace, named, depth + 1)


def _without_null(schema: Any, named: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The type itself, and whether null may stand for it."""
    optional = False
    if isinstance(schema, list):
        optional = "null" in schema
        others = [branch for branch in schema if branch != "null"]
        schema = others[0] if len(others) == 1 else {"type": "union"}
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    if isinstance(schema, dict) and isinstance(schema.get("type"), dict):
        schema = schema["type"]
    return (schema if isinstance(schema, dict) else {"type": "union"}), optional


def _column(field: dict[str, Any], named: dict[str, Any], depth: int) -> SourceColumn:
    if depth > _DEEPEST:
        raise NoSourceSchema("its schema is nested too deeply")
    schema, optional = _without_null(field.get("type"), named)
    kind = str(schema.get("connect.type") or _KINDS.get(str(schema.get("type")), "union"))
    parameters = schema.get("connect.parameters")
    given = {k: str(v) for k, v in parameters.items()} if isinstance(parameters, dict) else {}
    if schema.get("logicalType") == "decimal":
        given = {
            "scale": str(schema.get("scale", 0)),
            "connect.decimal.precision": str(schema.get("precision")),
        } | given
    logical = schema.get("connect.name")
    items = schema.get("items")
    return SourceColumn(
        name=str(field.get("name")),
        kind=kind,
        logical=logical if isinstance(logical, str) else None,
        parameters=given,
        optional=optional,
        default=field.get("default"),
        items=_column({"name": "item", "type": items}, named, depth + 1) if kind == "array" else None,
        native="logicalType" in schema,
    )
