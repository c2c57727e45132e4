"""A source's table, as change events describe it. Knows no notation of schemas and no contract types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class SourceColumn(Struct, frozen=True):
    """One column of the source's table, as the events describe it."""

    name: str
    kind: str
    """Connect's type: int8, int16, int32, int64, float32, float64, boolean, string, bytes, array, map, struct."""
    logical: str | None = None
    """Connect's semantic name, such as io.debezium.time.MicroTimestamp."""
    parameters: Mapping[str, str] = {}
    optional: bool = True
    default: Any = None
    items: SourceColumn | None = None
    """Of an array: its elements."""
    native: bool = False
    """Values come as their format's own type, decoded by its library: Avro's decimals, dates and times."""


class SourceSchema(Struct, frozen=True):
    """One version of a source's table."""

    columns: tuple[SourceColumn, ...]
    key: tuple[str, ...] | None = None
    """Names of the key's columns; () when the record has no key, None when that is not known."""
    name: str = ""
    """What the schema calls the table, mostly prefix.schema.table; topics are named like it."""
