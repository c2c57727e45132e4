"""The one table of types for SQLite: contract type -> declared type, what else may hold it, values to bind.

Knows no connection and no records. What SQLite does with values by a column's affinity: https://sqlite.org/datatype3.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from ingestd.schema.types import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, INTEGER, REAL, NUMERIC, BLOB = "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB"
Values = Callable[["pa.Array"], list[Any]]


class SqliteType(Struct, frozen=True):
    """One row of the table."""

    declared: str
    """In a table that ingestd creates."""
    fits: frozenset[str]
    """Affinities of existing columns that keep every value as it is."""
    values: Values
    """An Arrow column as what sqlite3 binds."""


def affinity(declared: str) -> str:
    """The affinity of a column by its declared type, by SQLite's own rules in their order."""
    upper = declared.upper()
    if "INT" in upper:
        return INTEGER
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return TEXT
    if "BLOB" in upper or not upper.strip():
        return BLOB
    return REAL if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else NUMERIC


def sqlite_type(column: ColumnType) -> SqliteType:
    """The row for a contract type; an array is JSON text."""
    if column.is_array:
        return SqliteType(TEXT, _AS_TEXT, lambda array: _json_values(array, column.scalar))
    return _SCALARS[column.scalar]


# --- values; all but `_plain` and the arrays' make no Python object besides the ones that are bound


def _plain(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _objects(array: pa.Array) -> list[Any]:
    """As `to_pylist`, several times faster: NumPy makes the strings, and None of null."""
    values: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
    return values


def _numbers(array: pa.Array) -> list[Any]:
    """Null would make NumPy's integers floats."""
    return _plain(array) if array.null_count else _objects(array)


def _booleans(array: pa.Array) -> list[Any]:
    import pyarrow as pa

    return _numbers(array.cast(pa.int8()))


def _texts(array: pa.Array) -> list[Any]:
    import pyarrow as pa

    return _objects(array.cast(pa.string()))


def _decimals(array: pa.Array) -> list[Any]:
    """All digits of the scale, so that equal numbers are equal texts; Arrow writes small ones with an exponent."""
    if array.type.scale <= 6:
        return _texts(array)
    return [None if value is None else f"{value:f}" for value in array.to_pylist()]


def _moments(array: pa.Array) -> list[Any]:
    """2025-08-15T10:30:00.000000Z, or without Z: always six digits, or texts would not sort as times do."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # Without its zone first, which is UTC: Arrow writes a text with one in 1.1 us, without in 0.15.
    written = array.cast(pa.timestamp("us")).cast(pa.string())
    written = pc.utf8_replace_slice(written, 10, 11, "T")
    return _objects(pc.binary_join_element_wise(written, "Z", "") if array.type.tz else written)


def _uuids(array: pa.Array) -> list[Any]:
    """With dashes, in lower case."""
    import numpy as np
    import pyarrow as pa

    raw = np.frombuffer(b"".join(b"\0" * 16 if one is None else one for one in array.to_pylist()), np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    pairs = np.stack([digits[raw >> 4], digits[raw & 15]], axis=1).reshape(-1, 32)
    written = np.full((len(array), 36), ord("-"), np.uint8)
    for start, end, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        written[:, at : at + end - start] = pairs[:, start:end]
    ends = pa.array(np.arange(0, 36 * len(array) + 1, 36, dtype=np.int32))
    values = _objects(pa.StringArray.from_buffers(len(array), ends.buffers()[1], pa.py_buffer(written.tobytes())))
    if array.null_count:
        values = [value if valid else None for value, valid in zip(values, array.is_valid().to_pylist(), strict=True)]
    return values


def _json_values(array: pa.Array, scalar: str) -> list[Any]:
    """JSON text; elements as the scalar column would hold them, numbers with a scale as text, bytes as base64."""
    element = _ELEMENTS.get(scalar, _plain)
    return [_json_array(element(one.values), scalar) if one.is_valid else None for one in array]


def _json_array(elements: list[Any], scalar: str) -> str:
    if scalar == "jsonb":
        return "[" + ",".join("null" if one is None else one for one in elements) + "]"
    return orjson.dumps(elements).decode()


def _float_elements(array: pa.Array) -> list[Any]:
    """JSON has no NaN and no infinity: the words, as the contract reads them."""
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return [None if one is None else words.get(str(one), one) for one in array.to_pylist()]


def _base64_elements(array: pa.Array) -> list[Any]:
    from base64 import b64encode

    return [None if one is None else b64encode(one).decode() for one in array.to_pylist()]


def _zoned_elements(array: pa.Array) -> list[Any]:
    """Staged without a zone, in UTC."""
    return [None if one is None else f"{one}Z" for one in _moments(array)]


_ELEMENTS: dict[str, Values] = {
    "float4": _float_elements,
    "float8": _float_elements,
    "epoch": _float_elements,
    "numeric": _decimals,
    "timestamptz": _zoned_elements,
    "timestamp": _moments,
    "date": _texts,
    "time": _texts,
    "bytea": _base64_elements,
}

_ANY = frozenset({TEXT, INTEGER, REAL, NUMERIC, BLOB})
_AS_TEXT = frozenset({TEXT, BLOB})
"""Other affinities make numbers of texts that look like numbers: 007 would become 7."""
_NEVER_A_NUMBER = frozenset({TEXT, NUMERIC, BLOB})
"""NUMERIC is what DATE, TIMESTAMP, UUID and the like declare; these texts never look like a number."""

_SCALARS: dict[str, SqliteType] = {
    "text": SqliteType(TEXT, _AS_TEXT, _objects),
    "varchar": SqliteType(TEXT, _AS_TEXT, _objects),
    "int2": SqliteType(INTEGER, _ANY, _numbers),
    "int4": SqliteType(INTEGER, _ANY, _numbers),
    # A REAL column makes a double of it: exact to 2**53 only.
    "int8": SqliteType(INTEGER, _ANY - {REAL}, _numbers),
    # A TEXT column makes 15 digits of it.
    "float4": SqliteType(REAL, _ANY - {TEXT}, _plain),
    "float8": SqliteType(REAL, _ANY - {TEXT}, _plain),
    "epoch": SqliteType(REAL, _ANY - {TEXT}, _plain),
    # Never through REAL: 1.005 would become 1.00.
    "numeric": SqliteType(TEXT, _AS_TEXT, _decimals),
    "bool": SqliteType(INTEGER, _ANY, _booleans),
    "uuid": SqliteType(TEXT, _NEVER_A_NUMBER, _uuids),
    "timestamptz": SqliteType(TEXT, _NEVER_A_NUMBER, _moments),
    "timestamp": SqliteType(TEXT, _NEVER_A_NUMBER, _moments),
    "date": SqliteType(TEXT, _NEVER_A_NUMBER, _texts),
    "time": SqliteType(TEXT, _NEVER_A_NUMBER, _texts),
    "jsonb": SqliteType(TEXT, _AS_TEXT, _objects),
    "bytea": SqliteType(BLOB, _ANY, _plain),
}
