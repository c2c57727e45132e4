"""The forms of texts and numbers that contract types take, in words that JSON Schema has. Knows no schemas."""

from __future__ import annotations

from ingestd.config.options import Column
from ingestd.schema.types import ColumnType

INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}
FLOAT_WORDS = ["NaN", "Infinity", "-Infinity"]
TIMES = ("timestamptz", "timestamp", "date", "time", "epoch")

_YEAR = "(?!0000)[0-9]{4}"
_DATE = (
    f"{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-9]))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
_HEX = "[0-9A-Fa-f]"

NUMBER_TEXT = r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,9})?$"
PATTERNS = {
    "uuid": f"^(?:{_HEX}{{32}}|{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})$",
    "date": f"^{_DATE}$",
    "time": f"^{_CLOCK}$",
    "timestamptz": f"^{_DATE}[T ]{_CLOCK}{_OFFSET}$",
    "epoch": f"^{_DATE}[T ]{_CLOCK}{_OFFSET}$",
    "naive_or_zoned": f"^{_DATE}(?:[T ]{_CLOCK}{_OFFSET}?)?$",
    "bytea": "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
}
"""ECMA-262 patterns; a 29th of February of a wrong year passes them."""


def path_of(column: Column) -> str:
    """Where a column's field is in the record."""
    return column.path or column.name


def integer_limits(kind: ColumnType) -> tuple[int, int] | None:
    """Smallest and largest value of an integer type; None for other types."""
    if kind.scalar not in INTEGER_BITS:
        return None
    half = 1 << (INTEGER_BITS[kind.scalar] - 1)
    return -half, half - 1
