"""Which fields a sample of JSON records has, and what values they take. Knows no column types and no TOML."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from ingestd.batch import Record

Path = tuple[str, ...]

_DEEPEST = 4
_WIDEST_OBJECT = 40
"""An object with more fields than this, over all records, is a map: its fields are values, not columns."""


class Field(Struct):
    """What the sample says of one field."""

    path: Path
    seen: int = 0
    nulls: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """bool, int, number, text, list, object."""
    values: list[Any] = field(default_factory=list)
    """Scalars in the order of the records."""


class Fields(Struct):
    """All fields of a sample, in the order in which they first came."""

    records: int
    """Those that are JSON objects."""
    unreadable: int
    fields: list[Field]


def fields_of(records: Iterable[Record]) -> Fields:
    """The fields of the records' values; nested objects are followed, maps and lists are not."""
    documents: list[dict[str, Any]] = []
    unreadable = 0
    for record in records:
        value = _parsed(record.value())
        if isinstance(value, dict):
            documents.append(value)
        elif record.value() is not None:
            unreadable += 1
    return Fields(len(documents), unreadable, list(_fields(documents, ())))


def _parsed(value: bytes | None) -> Any:
    try:
        return json.loads((value or b"").decode(), parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def _fields(documents: list[dict[str, Any]], parent: Path) -> Iterator[Field]:
    names: dict[str, Field] = {}
    children: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for name, value in document.items():
            found = names.setdefault(name, Field((*parent, name)))
            found.seen += 1
            _count(found, value)
            if isinstance(value, dict):
                children.setdefault(name, []).append(value)
    for name, found in names.items():
        inner = children.get(name, [])
        width = len({key for child in inner for key in child})
        only_objects = set(found.kinds) == {"object"}
        if only_objects and 0 < width <= _WIDEST_OBJECT and len(found.path) < _DEEPEST:
            yield from _fields(inner, found.path)
        else:
            yield found


def _count(found: Field, value: Any) -> None:
    if value is None:
        found.nulls += 1
        return
    found.kinds[_kind(value)] += 1
    if not isinstance(value, dict | list):
        found.values.append(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, Decimal | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"
