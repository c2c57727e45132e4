"""JSON values checked against the JSON Schema that wrote them. Knows no registry and no columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import msgspec

from ingestd.decode.formats.framing import HEADER_BYTES, Unreadable
from ingestd.decode.formats.registry import Registered

_BASE = "json-schema:///"


def json_schema_reader(schema: Registered) -> Callable[[bytes], bytes]:
    """The function from a framed JSON value to its text; it raises Unreadable when the schema does not allow it.

    References are those of the registry: nothing is fetched from the addresses that schemas name.
    Raises Unreadable when the schema itself cannot be used.
    """
    try:
        parts = [(name, msgspec.json.decode(text)) for name, text in schema.parts.items()]
        parts += [(_BASE + name, part) for name, part in parts if "://" not in name]
        known = jsonschema_rs.Registry(parts, retriever=_refuse) if parts else None
        document = msgspec.json.decode(schema.text)
        based = isinstance(document, dict) and ("$id" in document or "id" in document)
        base = None if based else _BASE
        allow = jsonschema_rs.validator_for(document, registry=known, base_uri=base, retriever=_refuse)
    except (
        jsonschema_rs.ValidationError,
        jsonschema_rs.ReferencingError,
        ValueError,
        TypeError,
        RecursionError,
    ) as error:
        raise Unreadable(f"its JSON Schema cannot be used: {' '.join(str(error).split())[:200]}") from None
    is_valid, errors = allow.is_valid, allow.iter_errors

    def read(value: bytes) -> bytes:
        text = value[HEADER_BYTES:]
        try:
            document = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            # Columns are read from the same text, and say what is wrong with it.
            return text
        if not is_valid(document):
            raise Unreadable(f"its JSON Schema does not allow it: {_rule(next(errors(document)))}")
        return text

    return read


def _rule(error: Any) -> str:
    """Where and which rule, without a word of the value."""
    where = ".".join(step if isinstance(step, str) and step.isidentifier() else "[]" for step in error.instance_path)
    return f"{error.schema_path[-1] if error.schema_path else 'false'} at {where or 'the whole value'}"


def _refuse(address: str) -> Any:
    raise ValueError(f"{address[:100]} is no reference of the registry")
