"""Builds an Arrow array from the values that msgspec read for one column. Knows no records and no JSON documents.

A value that a column cannot hold is null in the array and has an entry in `faults`; it never raises and never
disturbs its neighbours. Reasons name the rule, never the value: the payload is stored beside them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw, Struct

from ingestd.schema.types import ColumnType


class Built(Struct):
    """A column, or the elements of an array column; `faults` maps a row to why its value was refused."""

    array: pa.Array
    faults: dict[int, str]


Builder = Callable[[list[Any]], Built]

NUL = "holds a NUL character, which no text column can store"
_JSON_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_UUID_TEXT = 36
_DASHES = (8, 13, 18, 23)
_ZERO_UUID = "00000000-0000-0000-0000-000000000000"


def plain(arrow_type: pa.DataType) -> Builder:
    """For values that msgspec has already checked completely: integers, booleans, bytes, double precision."""
    return lambda values: Built(pa.array(values, arrow_type), {})


def text(values: list[str | None]) -> Built:
    """Text; a NUL is looked for once per column, not per value."""
    array = pa.array(values, pa.string())
    if b"\0" not in _bytes_of(array):
        return Built(array, {})
    return without(array, {row: NUL for row, value in enumerate(values) if value and "\0" in value})


def floats(column: ColumnType) -> Builder:
    """float4 and float8; float4 refuses what PostgreSQL calls out of range instead of making it infinite or zero."""
    narrow = column.scalar == "float4"

    def build(values: list[Any]) -> Built:
        try:
            wide = pa.array(values, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            wide = pa.array([float(value) if type(value) is str else value for value in values], pa.float64())
        return _narrowed(wide) if narrow else Built(wide, {})

    return build


def _narrowed(wide: pa.DoubleArray) -> Built:
    array = wide.cast(pa.float32())
    lost = pc.or_(
        pc.and_not(pc.is_inf(array), pc.is_inf(wide)),
        pc.and_(pc.equal(array, 0), pc.not_equal(wide, 0)),
    )
    if not pc.any(lost).as_py():
        return Built(array, {})
    return without(array, dict.fromkeys(rows_where(lost), "out of range of float4"))


def uuids(values: list[str | None]) -> Built:
    """uuid as 16 bytes: the whole column at once when all have the dashed form, else one by one."""
    texts = pa.array(values, pa.string())
    filled = texts.fill_null(_ZERO_UUID) if texts.null_count else texts
    written = _bytes_of(filled)
    rows = len(values)
    digits = written.replace(b"-", b"")
    lengths = pc.min_max(pc.binary_length(filled)).as_py()
    same = lengths["min"] == lengths["max"] == _UUID_TEXT and len(digits) == 32 * rows
    if same and all(written[place::_UUID_TEXT] == b"-" * rows for place in _DASHES):
        try:
            return Built(_fixed16(binascii.unhexlify(digits), texts), {})
        except binascii.Error:
            pass
    return _uuids_alone(values, texts)


def _uuids_alone(values: list[str | None], texts: pa.StringArray) -> Built:
    faults = {row: "not a uuid" for row, value in enumerate(values) if value is not None and not _UUID.fullmatch(value)}
    digits = [
        bytes(16) if value is None or row in faults else bytes.fromhex(value.replace("-", ""))
        for row, value in enumerate(values)
    ]
    return without(_fixed16(b"".join(digits), texts), faults)


def _fixed16(joined: bytes, like: pa.Array) -> pa.Array:
    validity = like.buffers()[0] if like.null_count else None
    return pa.Array.from_buffers(pa.binary(16), len(like), [validity, pa.py_buffer(joined)])


def uuid_texts(values: list[str | None]) -> Built:
    """Elements of uuid[], which are staged as text: checked, in the form they came."""
    checked = uuids(values)
    return Built(without(pa.array(values, pa.string()), checked.faults).array, checked.faults)


def raw_texts(values: list[Raw]) -> tuple[list[str], dict[int, str]]:
    """The JSON text of each raw value, and the rows that are not UTF-8.

    Joined and split at NUL, which no JSON text can contain: five times faster than value by value.
    """
    try:
        return b"\0".join(values).decode().split("\0"), {}
    except UnicodeDecodeError:
        return [bytes(value).decode("utf-8", "replace") for value in values], {
            row: "invalid UTF-8" for row, value in enumerate(values) if not _is_utf8(bytes(value))
        }


def jsonb(values: list[Raw]) -> Built:
    """jsonb as its JSON text; JSON null is SQL NULL."""
    if not values:
        return Built(pa.array([], pa.string()), {})
    texts, faults = raw_texts(values)
    array = nulls_of(texts)
    if b"\\u0000" in _bytes_of(array):
        faults |= {row: NUL for row, value in enumerate(values) if _JSON_NUL.search(value)}
    return without(array, faults)


def nulls_of(texts: list[str]) -> pa.StringArray:
    """JSON texts as an array in which a JSON null is null."""
    array = pa.array(texts, pa.string())
    if b"null" not in _bytes_of(array):
        return array
    return pc.if_else(pc.equal(array, "null"), pa.scalar(None, pa.string()), array)


def arrays(element: Builder, element_type: pa.DataType) -> Builder:
    """An array column out of the builder of its elements; a refused element refuses its row."""

    def build(values: list[list[Any] | None]) -> Built:
        flat = element(list(chain.from_iterable(value for value in values if value)))
        items = flat.array.cast(element_type) if flat.array.type != element_type else flat.array
        ends = list(accumulate((len(value) if value else 0 for value in values), initial=0))
        missing = pa.array([value is None for value in values], pa.bool_())
        array = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, mask=missing)
        if not flat.faults:
            return Built(array, {})
        owners = pc.list_parent_indices(array).to_pylist()
        faults: dict[int, str] = {}
        for position, reason in flat.faults.items():
            faults.setdefault(owners[position], f"element: {reason}")
        return without(array, faults)

    return build


def without(array: pa.Array, faults: dict[int, str]) -> Built:
    """`array` with the faulty rows null (an array column keeps them: their rows are dropped all the same)."""
    if not faults or pa.types.is_list(array.type):
        return Built(array, faults)
    return Built(pc.if_else(as_mask(kept(len(array), faults)), array, pa.scalar(None, array.type)), faults)


def kept(rows: int, dropped: Iterable[int]) -> bytearray:
    """One byte per row: 0 for those in `dropped`, else 1. Made without a step per good row."""
    selected = bytearray(b"\1") * rows
    for row in dropped:
        selected[row] = 0
    return selected


def as_mask(selected: bytearray) -> pa.BooleanArray:
    """What `kept` gives, for Arrow."""
    return pa.Array.from_buffers(pa.uint8(), len(selected), [None, pa.py_buffer(selected)]).cast(pa.bool_())


def rows_where(mask: pa.BooleanArray) -> list[int]:
    """The rows where `mask` is true (null counts as false)."""
    rows: list[int] = pc.indices_nonzero(mask).to_pylist()
    return rows


def _bytes_of(array: pa.Array) -> bytes:
    characters = array.buffers()[2]
    return b"" if characters is None else characters.to_pybytes()


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
