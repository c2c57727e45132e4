"""JSON numbers and numeric text into exact decimals. Knows no records.

Arrow's cast from text is fast but not to be trusted everywhere: with exponents, or when digits plus scale exceed 38,
it returns wrong values without an error ("-7" as decimal128(38,38), "2e-40" as 0). So it sees only texts for which it
is exact, and the others are judged one by one by Python's decimal.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Underflow
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from ingestd.decode.columns import Builder, Built, nulls_of, raw_texts, rows_where, without
from ingestd.schema.types import MAX_PRECISION, ColumnType

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,9})?", re.ASCII)


def numerics(column: ColumnType) -> Builder:
    """numeric(p,s), exactly: a value that would need rounding is refused, trailing zeros are not digits."""
    precision, scale = column.args
    exact = pa.decimal128(precision, scale)
    whole = f"[0-9]{{1,{precision - scale}}}" if precision > scale else "0"
    fraction = rf"(\.[0-9]{{1,{scale}}})?" if scale else ""
    surely_fits = f"^-?{whole}{fraction}$"
    longest = MAX_PRECISION - scale

    def build(values: list[Raw]) -> Built:
        if not values:
            return Built(pa.array([], exact), {})
        texts, faults = raw_texts(values)
        # A JSON text has quotes at both ends or at none; "null" in quotes stays a text, which no cast takes.
        array = pc.ascii_trim(nulls_of(texts), '"')
        if not faults and _cast_is_exact(array, longest):
            try:
                return Built(array.cast(exact), {})
            except pa.ArrowInvalid:
                pass
        return alone(texts, array, faults)

    def alone(texts: list[str], array: pa.StringArray, faults: dict[int, str]) -> Built:
        fits = pc.fill_null(pc.match_substring_regex(array, surely_fits), True)
        decided = pc.if_else(fits, array, pa.scalar(None, pa.string())).cast(exact)
        others: dict[int, Decimal] = {}
        for row in rows_where(pc.invert(fits)):
            if row in faults:
                continue
            judged = exactly(texts[row], precision, scale)
            if isinstance(judged, str):
                faults[row] = judged
            else:
                others[row] = judged
        if others:
            decided = pc.coalesce(decided, pa.array([others.get(row) for row in range(len(texts))], exact))
        return without(decided, faults)

    return build


def _cast_is_exact(array: pa.StringArray, longest: int) -> bool:
    """Whether Arrow's cast cannot overflow unseen: no exponent, and digits + scale <= 38."""
    written = array.buffers()[2]
    if written is None:
        return True
    characters = written.to_pybytes()
    if b"e" in characters or b"E" in characters:
        return False
    length = pc.max(pc.binary_length(array)).as_py()
    return length is None or length <= longest


def exactly(text: str, precision: int, scale: int) -> Decimal | str:
    """The decimal that `text` (a JSON number, or a JSON string holding one) means, or why numeric(p,s) refuses it."""
    if text.startswith('"'):
        text = msgspec.json.decode(text, type=str)
    if not _NUMBER.fullmatch(text):
        return "not a number"
    try:
        return _context(precision).quantize(Decimal(text), Decimal((0, (1,), -scale)))
    except DecimalException:
        return f"too many digits for numeric({precision},{scale})"


def _context(precision: int) -> Context:
    traps: Any = [Inexact, InvalidOperation, Overflow, Underflow]
    return Context(prec=precision, Emin=-999_999_999, Emax=999_999_999, traps=traps)
