"""Debezium's decimals, unscaled big-endian two's complement with a scale, into Arrow columns. Knows no records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from ingestd.decode.columns import Builder, Built, as_mask, without
from ingestd.schema.types import ColumnType

_MOST_BYTES = 61_000
"""Of an unscaled value: PostgreSQL's numeric has 131,072 digits before the point and 16,383 behind it."""
_SCALES = range(-131_072, 16_384)
_INT64 = 1 << 63
_GREATEST = {"float4": 3.4028235677973362e38, "float8": sys.float_info.max}
"""Beyond it a number becomes infinite; of float4 what is nearer to infinity than to its greatest number."""


class VariableDecimal(Struct, gc=False):
    """io.debezium.data.VariableScaleDecimal: every value has its own scale."""

    scale: int
    value: bytes


def decimals(column: ColumnType, scale: int) -> Builder:
    """numeric(p,s), text, a float or an integer, from bytes of this scale and from VariableDecimal. Exact, or refused;
    only floats are rounded."""
    match column.scalar:
        case "numeric":
            return _numerics(column.args, scale)
        case "float4" | "float8":
            greatest = _GREATEST[column.scalar]
            return _each(column, scale, lambda text: _floating(text, greatest))
        case "int2" | "int4" | "int8":
            limit = {"int2": 1 << 15, "int4": 1 << 31, "int8": 1 << 63}[column.scalar]
            return _each(column, scale, lambda text: _integer(text, limit))
        case _:
            return _each(column, scale, str)


def _numerics(digits: tuple[int, ...], given_scale: int) -> Builder:
    precision, scale = digits
    shift, limit = scale - given_scale, 10**precision
    factor = 10**shift if 0 <= shift <= precision else 0
    exact = pa.decimal128(precision, scale)
    from_bytes = int.from_bytes

    def build(values: list[Any]) -> Built:
        if not values:
            return Built(pa.array([], exact), {})
        try:
            numbers = [0 if value is None else from_bytes(value, "big", signed=True) for value in values]
            if factor > 1:
                numbers = [number * factor for number in numbers]
            if factor and b"" not in values and max(numbers) < limit and min(numbers) > -limit:
                return Built(_decimal_array(numbers, exact, values), {})
        except TypeError:
            pass  # VariableDecimal among them
        return slowly(values)

    def slowly(values: list[Any]) -> Built:
        faults: dict[int, str] = {}
        numbers = [0] * len(values)
        for row, value in enumerate(values):
            judged = 0 if value is None else _scaled(value, given_scale, precision, scale)
            if isinstance(judged, str):
                faults[row] = judged
            else:
                numbers[row] = judged
        return without(_decimal_array(numbers, exact, values), faults)

    return build


def _scaled(value: Any, given_scale: int, precision: int, scale: int) -> int | str:
    """`value` as an unscaled number of numeric(precision, scale), or why it is none."""
    read = _unscaled(value, given_scale)
    if isinstance(read, str):
        return read
    number, own_scale = read
    too_many = f"too many digits for numeric({precision},{scale})"
    if number == 0:
        return 0
    shift = scale - own_scale
    if shift > precision:
        return too_many
    if shift >= 0:
        number *= 10**shift
    else:
        number, rest = divmod(number, 10**-shift)
        if rest:
            return too_many
    return number if -(10**precision) < number < 10**precision else too_many


def _unscaled(value: Any, given_scale: int) -> tuple[int, int] | str:
    written, scale = (value.value, value.scale) if type(value) is VariableDecimal else (value, given_scale)
    if not written:
        return "a decimal without bytes"
    if len(written) > _MOST_BYTES or scale not in _SCALES:
        return "a decimal with more digits than PostgreSQL has"
    return int.from_bytes(written, "big", signed=True), scale


def _decimal_array(numbers: list[int], exact: pa.Decimal128Type, values: list[Any]) -> pa.Array:
    """Unscaled numbers as they are in Arrow: 16 bytes, little-endian; null where `values` is None."""
    if max(numbers) < _INT64 and min(numbers) >= -_INT64:
        words = np.empty((len(numbers), 2), np.int64)
        words[:, 0] = numbers
        words[:, 1] = words[:, 0] >> 63
        buffer = pa.py_buffer(words)
    else:
        buffer = pa.py_buffer(b"".join([number.to_bytes(16, "little", signed=True) for number in numbers]))
    there = None
    if None in values:
        there = as_mask(bytearray([value is not None for value in values])).buffers()[1]
    return pa.Array.from_buffers(exact, len(numbers), [there, buffer])


def _each(column: ColumnType, given_scale: int, convert: Callable[[str], Any]) -> Builder:
    """Value by value, over the text of the number."""
    arrow = column.scalar_arrow_type()

    def build(values: list[Any]) -> Built:
        faults: dict[int, str] = {}
        found: list[Any] = [None] * len(values)
        for row, value in enumerate(values):
            if value is None:
                continue
            read = _unscaled(value, given_scale)
            if isinstance(read, str):
                faults[row] = read
                continue
            try:
                found[row] = convert(decimal_text(*read))
            except (ValueError, OverflowError):
                faults[row] = f"not a {column.name}"
        return Built(pa.array(found, arrow), faults)

    return build


def decimal_text(number: int, scale: int) -> str:
    """All digits of number / 10^scale, as PostgreSQL writes them."""
    digits = str(Decimal(abs(number)))
    if scale > 0:
        digits = digits.rjust(scale + 1, "0")
        digits = f"{digits[:-scale]}.{digits[-scale:]}"
    elif number:
        digits += "0" * -scale
    return f"-{digits}" if number < 0 else digits


def _floating(text: str, greatest: float) -> float:
    number = float(text)
    if abs(number) > greatest:
        raise OverflowError(text)
    return number


def _integer(text: str, limit: int) -> int:
    whole, _, fraction = text.partition(".")
    if fraction.strip("0") or len(whole) > 20 or not -limit <= (number := int(whole)) < limit:
        raise ValueError(text)
    return number
