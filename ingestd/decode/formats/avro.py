"""Avro values as JSON text, by the schema that wrote them. Knows no registry and no columns.

Read by fastavro itself and not through the client's deserializer: 7.6 us a record against 20.7, spent on rules and
readers' schemas that columns do not need.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from fastavro import _read_py
from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from ingestd.decode.formats.framing import HEADER_BYTES, Unreadable
from ingestd.decode.formats.registry import Registered
from ingestd.decode.formats.to_json import json_of

_FAULTS = (ArithmeticError, AssertionError, EOFError, LookupError, RecursionError, TypeError, ValueError, struct.error)
_DEEPEST_BYTES = 1000
"""Longest value of a schema that nests itself that fastavro's compiled reader gets: each level takes a byte at least,
and 5,000 levels overflow its stack and kill the process. Longer ones are read by its Python twin, 10 times slower,
which raises RecursionError."""


_MOST_WITHOUT_BYTES = 1000
"""Values that a record of no bytes may hold."""


class _EndlessError(Exception):
    """Items of an array, or very many values of a record, take no bytes: nothing bounds them."""


def avro_reader(schema: Registered) -> Callable[[bytes], bytes]:
    """The function from a framed Avro value to JSON text; it raises Unreadable.

    Raises Unreadable when the schema itself cannot be used.
    """
    try:
        named: dict[str, Any] = {}
        for text in schema.parts.values():
            parse_schema(msgspec.json.decode(text), named_schemas=named)
        parsed = parse_schema(msgspec.json.decode(schema.text), named_schemas=named)
    except (SchemaParseException, UnknownType, msgspec.DecodeError, *_FAULTS) as error:
        raise Unreadable(f"its Avro schema cannot be used: {str(error)[:200]}") from None
    try:
        safely_below_bytes = _DEEPEST_BYTES if _nests_itself(parsed, named, (), set()) else sys.maxsize
    except _EndlessError:
        raise Unreadable(
            "its Avro schema has arrays, or thousands, of values without bytes: a few bytes could be endless"
        ) from None

    def read(value: bytes) -> bytes:
        stream = BytesIO(value)
        stream.seek(HEADER_BYTES)
        try:
            compiled = len(value) < safely_below_bytes
            found = (fastavro.schemaless_reader if compiled else _read_py.schemaless_reader)(stream, parsed, None)
            left = len(value) - stream.tell()
        except UnicodeDecodeError:
            raise Unreadable("invalid UTF-8 in a text") from None
        except _FAULTS as error:
            raise Unreadable(f"is not what its Avro schema says ({type(error).__name__})") from None
        if left:
            raise Unreadable(f"is not what its Avro schema says: {left} bytes are left over")
        return json_of(found)

    return read


def _nests_itself(schema: Any, named: dict[str, Any], outer: tuple[str, ...], seen: set[str]) -> bool:
    """Whether a record can hold one of its own type, at any depth. Raises _EndlessError.

    `seen` are records that were looked at: thirty, each with two fields of the next, are a billion paths.
    """
    if isinstance(schema, str):
        if schema in outer:
            return True
        return schema in named and schema not in seen and _nests_itself(named[schema], named, outer, seen)
    if isinstance(schema, list):
        return any([_nests_itself(branch, named, outer, seen) for branch in schema])
    match schema["type"]:
        case "array":
            if _weightless(schema["items"], named, {}):
                raise _EndlessError
            return _nests_itself(schema["items"], named, outer, seen)
        case "map":
            return _nests_itself(schema["values"], named, outer, seen)
        case "record" | "error":
            seen.add(schema["name"])
            if _weightless(schema, named, {}) > _MOST_WITHOUT_BYTES:
                raise _EndlessError
            outer = (*outer, schema["name"])
            return any([_nests_itself(field["type"], named, outer, seen) for field in schema["fields"]])
        case kind:
            return isinstance(kind, dict | list) and _nests_itself(kind, named, outer, seen)


def _weightless(schema: Any, named: dict[str, Any], known: dict[str, int]) -> int:
    """How many values a value of no bytes holds; 0 when it takes bytes. `known`: of records that were looked at."""
    if isinstance(schema, str):
        if schema not in named:
            return int(schema == "null")
        return known[schema] if schema in known else _weightless(named[schema], named, known)
    if isinstance(schema, list):
        return 0
    match schema["type"]:
        case "record" | "error":
            known[schema["name"]] = 0  # until all of it is known: one that holds itself has no end
            fields = [_weightless(field["type"], named, known) for field in schema["fields"]]
            known[schema["name"]] = 1 + sum(fields) if all(fields) else 0
            return known[schema["name"]]
        case "fixed":
            return int(schema["size"] == 0)
        case kind:
            return int(kind == "null")
