"""What is in the files: columns and Arrow types, out of a decoded batch. Knows no directory and no file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.schema.types import ColumnType, parse_type

FIELD_ID = b"PARQUET:field_id"
"""Arrow's key of a Parquet field's id; DuckLake and Iceberg map columns by it."""

Convert = Callable[[pa.Array], pa.Array]

_DIGITS = np.dtype([("a", "V8"), ("b", "V4"), ("c", "V4"), ("d", "V4"), ("e", "V12")])
_DASHED = np.dtype(
    [
        ("a", "V8"),
        ("-1", "u1"),
        ("b", "V4"),
        ("-2", "u1"),
        ("c", "V4"),
        ("-3", "u1"),
        ("d", "V4"),
        ("-4", "u1"),
        ("e", "V12"),
    ]
)
"""A uuid's 32 digits, and how it is written; copied by field, in half the time of slices of bytes."""
_UUID_GROWTH = 36 + 4 - 16


class FileSchema(Struct, frozen=True):
    """The columns of a lake's files."""

    names: tuple[str, ...]
    """In the order of the files."""
    arrow: pa.Schema
    """With field ids: 1 for the first column; the elements of arrays come after the last column."""
    converts: tuple[Convert | None, ...]
    """What makes each column of a batch the one of the file; None: it is the same."""
    growth: int
    """Bytes that a row takes more in its form for the files."""

    @classmethod
    def of(cls, pipeline: cfg.Pipeline) -> FileSchema:
        """Of a pipeline with a lake: `lake.columns`, or all that are stored, in their order."""
        declared = [column for column in pipeline.column if column.stored]
        if pipeline.lake is not None and pipeline.lake.columns:
            by_name = {column.name: column for column in declared}
            declared = [by_name[name] for name in pipeline.lake.columns]
        names = tuple(column.name for column in declared)
        kinds = [parse_type(column.type) for column in declared]
        fields = [_field(names[n], kind, n + 1, len(kinds)) for n, kind in enumerate(kinds)]
        growth = sum(_UUID_GROWTH for kind in kinds if kind.scalar == "uuid" and not kind.is_array)
        return cls(names, pa.schema(fields), tuple(map(_convert, kinds)), growth)

    def batch(self, columns: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a decoded batch as they are in the files. Raises: KeyError for a column that is not there."""
        arrays = []
        for name, convert in zip(self.names, self.converts, strict=True):
            array = columns.column(name)
            arrays.append(array if convert is None else convert(array))
        return pa.RecordBatch.from_arrays(arrays, schema=self.arrow)


def file_type(kind: ColumnType) -> pa.DataType:
    """The Arrow type of a column in a file: a uuid is text, since Spark cannot read Parquet's; UTC stays UTC."""
    element = pa.string() if kind.scalar == "uuid" else kind.scalar_arrow_type()
    return pa.list_(pa.field("element", element)) if kind.is_array else element


def _field(name: str, kind: ColumnType, number: int, count: int) -> pa.Field:
    of_file = file_type(kind)
    if kind.is_array:
        of_file = pa.list_(of_file.value_field.with_metadata({FIELD_ID: str(count + number)}))
    # Never NOT NULL: a record that deletes may have its key alone, and a contract may become laxer.
    return pa.field(name, of_file, metadata={FIELD_ID: str(number)})


def _convert(kind: ColumnType) -> Convert | None:
    if kind.is_array:
        return _elements(_uuid_texts if kind.scalar == "uuid" else None, file_type(kind))
    return _uuids if kind.scalar == "uuid" else None


def _elements(convert: Convert | None, wanted: pa.DataType) -> Convert:
    """Of arrays, which come in their staged form: uuid as text, timestamptz as timestamp in UTC."""

    def elements(array: pa.ListArray) -> pa.Array:
        if array.offset or array.values.offset:
            array = array.take(pa.array(np.arange(len(array))))
        values = array.values if convert is None else convert(array.values)
        values = values.cast(wanted.value_type)
        missing = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(array.offsets, values, type=wanted, mask=missing)

    return elements


def _uuids(array: pa.Array) -> pa.StringArray:
    """Sixteen bytes each, as 8-4-4-4-12 digits."""
    octets = array.buffers()[1][array.offset * 16 : (array.offset + len(array)) * 16]
    return _dashed(octets.to_pybytes().hex().encode(), array)


def _uuid_texts(array: pa.StringArray) -> pa.StringArray:
    """Checked texts with or without dashes, in either case, all as lower case with dashes."""
    if not len(array):
        return array
    plain = pc.utf8_lower(pc.replace_substring(array.fill_null("0" * 32), pattern="-", replacement=""))
    return _dashed(plain.buffers()[2].to_pybytes()[: 32 * len(array)], array)


def _dashed(digits: bytes, like: pa.Array) -> pa.StringArray:
    """32 digits for each value of `like`, whose nulls are kept."""
    plain, written = np.frombuffer(digits, _DIGITS), np.empty(len(like), _DASHED)
    for field in _DASHED.names or ():
        written[field] = plain[field] if field in (_DIGITS.names or ()) else ord("-")
    ends = np.arange(len(like) + 1, dtype=np.int32) * _DASHED.itemsize
    text = pa.StringArray.from_buffers(len(like), pa.py_buffer(ends), pa.py_buffer(written.view(np.uint8)))
    return pc.if_else(like.is_valid(), text, pa.scalar(None, pa.string())) if like.null_count else text
