"""What a DuckLake catalogue needs to know of Parquet files, out of their footers. Knows no catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingestd.errors import Halt
from ingestd.lake.place import Place
from ingestd.stores.ducklake_types import Describe, Described, Entry, FileColumn

_AT_ONCE = 8
_TAIL = 8
_TYPES = {
    pa.bool_(): "boolean",
    pa.int8(): "int8",
    pa.int16(): "int16",
    pa.int32(): "int32",
    pa.int64(): "int64",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.string(): "varchar",
    pa.large_string(): "varchar",
    pa.binary(): "blob",
    pa.date32(): "date",
    pa.time64("us"): "time",
}


def describing(place: Place) -> Describe:
    """What describes files of this place; several at once, since an object store answers late."""

    def describe(entries: Sequence[Entry]) -> list[Described]:
        if len(entries) == 1:
            return [_describe(place, entries[0])]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda entry: _describe(place, entry), entries))

    return describe


def _describe(place: Place, entry: Entry) -> Described:
    with _opened(place, entry) as file:
        size = file.size()
        length = int.from_bytes(file.read_at(_TAIL, size - _TAIL)[:4], "little")
        parquet = pq.ParquetFile(file)
        columns = list(_columns(parquet.schema_arrow, parquet.metadata))
    return Described(length, columns)


def _opened(place: Place, entry: Entry) -> Any:
    for key in (entry.staged, entry.key, entry.staged):
        try:
            return place.read(key)
        except FileNotFoundError:
            continue
    raise Halt(
        f"{place.url}: {entry.key} is part of the lake, but neither it nor {entry.staged} is there; "
        "`ingestd verify` tells what is missing"
    )


def _columns(schema: pa.Schema, metadata: pq.FileMetaData) -> Iterator[FileColumn]:
    for leaf, field in enumerate(schema):  # a list has one leaf too
        if pa.types.is_list(field.type):
            yield FileColumn(name=field.name, type="list", element=_type(field.type.value_type))
        else:
            yield _with_bounds(FileColumn(name=field.name, type=_type(field.type)), metadata, leaf)


def _type(kind: pa.DataType) -> str:
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamptz" if kind.tz else "timestamp"
    try:
        return _TYPES[kind]
    except KeyError:
        raise Halt(f"lake.ducklake: DuckLake has no type for {kind}; leave the column out with lake.columns") from None


def _with_bounds(column: FileColumn, metadata: pq.FileMetaData, leaf: int) -> FileColumn:
    """Counts and bounds of a column over all row groups; of whole numbers, dates and times only.

    Text is compared by the rules of the catalogue's database, which need not be DuckDB's; a float may be no number.
    """
    if column.type not in ("int8", "int16", "int32", "int64", "date", "timestamp", "timestamptz"):
        return column
    nbytes = values = nulls = 0
    lows, highs = [], []
    for number in range(metadata.num_row_groups):
        chunk = metadata.row_group(number).column(leaf)
        found = chunk.statistics
        if found is None or not found.has_null_count:
            return column
        nbytes += chunk.total_compressed_size
        nulls += found.null_count
        values += chunk.num_values - found.null_count
        if found.has_min_max:
            lows.append(found.min)
            highs.append(found.max)
        elif chunk.num_values > found.null_count:
            return column
    return FileColumn(
        name=column.name,
        type=column.type,
        nbytes=nbytes,
        values=values,
        nulls=nulls,
        low=_text(min(lows)) if lows else None,
        high=_text(max(highs)) if highs else None,
    )


def _text(value: Any) -> str:
    """As DuckDB writes it."""
    if isinstance(value, datetime):
        bare = value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if value.tzinfo else value.isoformat(" ")
        return bare + ("+00" if value.tzinfo else "")
    return value.isoformat() if isinstance(value, date) else str(value)
