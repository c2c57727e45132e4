"""Where rows and files are in a lake: hive directories, names. Knows no file system and no Parquet.

A directory's name is "column=value" with every byte of the value percent-encoded but [A-Za-z0-9_.-]: whatever a
record holds, it stays one name in one directory below the root.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingestd.config import options as cfg
from ingestd.config.checks.lake import PARTITION
from ingestd.lake.place import STAGING
from ingestd.schema.types import ColumnType, parse_type

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive calls the directory of null, and of the empty text, which no directory can be named after."""
MAX_VALUE_BYTES = 200
"""Of an encoded value; with "column=" it must stay below the 255 bytes of a file system's names."""

_MAX_NAME_BYTES = 255
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
_HASH_DIGITS = 16
_MAX_TOPIC = 150
_MAX_REMEMBERED = 100_000
_EPOCH = date(1970, 1, 1)
_US_OF = {"day": 86_400_000_000, "hour": 3_600_000_000}

_TIME_FORMS = {
    "year": "{0.year:04d}",
    "month": "{0.month:02d}",
    "day": "{0.day:02d}",
    "date": "{0.year:04d}-{0.month:02d}-{0.day:02d}",
}

Ints = NDArray[np.int64]
Source = tuple[str, str | None]
"""A column, and for a time its unit: "day" or "hour"."""


def encode(value: bytes, room: int = MAX_VALUE_BYTES) -> str:
    """One name out of any bytes, at most `room` long: percent-encoded; cut when too long, ending in "~" and a hash.

    No other bytes have the name unless it was cut, and then none that anybody can find.
    """
    if value in (b".", b".."):
        return "%2E" * len(value)
    if value == NO_VALUE.encode() or value.lower() == b"null":
        # A text like any other, which Hive, or DuckDB, would take for null.
        return f"%{value[0]:02X}{value[1:].decode()}"
    pieces = [chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in value]
    whole = "".join(pieces)
    if len(whole) <= room:
        return whole
    kept, length = [], 0
    for piece in pieces:
        if length + len(piece) > room - 1 - _HASH_DIGITS:
            break
        kept.append(piece)
        length += len(piece)
    return "".join(kept) + "~" + hashlib.sha256(value).hexdigest()[:_HASH_DIGITS]


def decode(name: str) -> bytes:
    """The bytes that `encode` made a name of. Raises: ValueError for a value that was cut."""
    if "~" in name:
        raise ValueError(f"{name}: the value was too long for a directory; it is in the file")
    return unquote_to_bytes(name)


class Layout:
    """The directory of each row of a pipeline's lake."""

    def __init__(self, pipeline: cfg.Pipeline):
        assert pipeline.lake is not None
        kinds = {column.name: parse_type(column.type) for column in pipeline.column}
        self._sources: list[Source] = []
        self._levels: list[tuple[int, Callable[[Any], str]]] = []
        """Which source, and how its value becomes "name=value"."""
        for written in pipeline.lake.partition_by:
            source, name, text = _level(written, kinds)
            if source not in self._sources:
                self._sources.append(source)
            self._levels.append((self._sources.index(source), _named(name, text)))
        self._directories: dict[tuple[Any, ...], str] = {}

    def directories(self, columns: pa.RecordBatch) -> tuple[NDArray[np.int32], list[str]]:
        """Which of the directories each row belongs into, and the directories, none twice.

        One Python step for each distinct combination of values, none for a row.
        """
        if not self._levels or not columns.num_rows:
            return np.zeros(columns.num_rows, np.int32), [""]
        encoded = [_codes(columns.column(name), unit) for name, unit in self._sources]
        whole, span = encoded[0][0], max(1, len(encoded[0][1]))
        for codes, values in encoded[1:]:
            if span * len(values) >= 2**62:
                whole, _ = _distinct(whole)
                span = len(whole)
            whole = whole * len(values) + codes
            span *= max(1, len(values))
        row_codes, first_rows = _distinct(whole)
        numbers: dict[str, int] = {}
        slots = np.empty(len(first_rows), np.int32)
        for slot, row in enumerate(first_rows.tolist()):
            combination = tuple(values[codes[row]] for codes, values in encoded)
            slots[slot] = numbers.setdefault(self._directory(combination), len(numbers))
        return slots[row_codes], list(numbers)

    def _directory(self, values: tuple[Any, ...]) -> str:
        found = self._directories.get(values)
        if found is None:
            found = "/".join(text(values[source]) for source, text in self._levels)
            if len(self._directories) >= _MAX_REMEMBERED:
                self._directories.clear()
            self._directories[values] = found
        return found


def _distinct(codes: Ints) -> tuple[Ints, Ints]:
    """The codes renumbered from 0 in order of appearance, and the first row of each."""
    encoded = pa.array(codes).dictionary_encode()
    numbers = encoded.indices.to_numpy().astype(np.int64)
    first = np.zeros(len(encoded.dictionary), np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    return numbers, first


def _codes(column: pa.Array, unit: str | None) -> tuple[Ints, list[Any]]:
    """A number for each row and the value each number stands for; of a time, days or hours since 1970."""
    if unit is not None:
        column = _units(column, unit)
    elif pa.types.is_floating(column.type):
        # Every NaN is one value, and no value takes part in arithmetic.
        column = column.cast(pa.string())
    elif pa.types.is_list(column.type):
        column = pa.array([_json(value) for value in column.to_pylist()], pa.string())
    elif pa.types.is_timestamp(column.type) or pa.types.is_time(column.type):
        column = column.cast(pa.int64())
    encoded = column.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _json(value: list[Any] | None) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _units(column: pa.Array, unit: str) -> pa.Array:
    if pa.types.is_date(column.type):
        days = column.cast(pa.int32()).cast(pa.int64())
        return days if unit == "day" else pc.multiply(days, 24)
    microseconds = column.cast(pa.int64())
    numbers = np.floor_divide(microseconds.fill_null(0).to_numpy(), _US_OF[unit])
    return pa.array(numbers, mask=microseconds.is_null().to_numpy(zero_copy_only=False))


def _level(written: str, kinds: Mapping[str, ColumnType]) -> tuple[Source, str, Callable[[Any], str | bytes]]:
    """What a partition is made of, its name, and the text of a value."""
    made = PARTITION.fullmatch(written)
    if made is None:
        return (written, None), written, _text_of(kinds[written])
    part, of = made["part"], made["of"]
    if part == "hour":
        return (of, "hour"), part, lambda hours: f"{hours % 24:02d}"
    form = _TIME_FORMS[part]
    return (of, "day"), part, lambda days: form.format(_EPOCH + timedelta(days=days))


def _text_of(kind: ColumnType) -> Callable[[Any], str | bytes]:
    """The text of a value as DuckDB and Spark read it back."""
    if kind.is_array:
        return str
    match kind.scalar:
        case "bool":
            return lambda value: "true" if value else "false"
        case "uuid":
            return lambda value: "-".join(_cut(value.hex(), 8, 12, 16, 20))
        case "timestamptz" | "timestamp":
            return lambda value: str(datetime(1970, 1, 1) + timedelta(microseconds=value))
        case "time":
            return lambda value: str((datetime(1970, 1, 1) + timedelta(microseconds=value)).time())
        case "numeric":
            return lambda value: format(value, "f")
        case "bytea":
            return bytes
        case _:
            return str


def _cut(text: str, *places: int) -> list[str]:
    return [text[start:end] for start, end in zip((0, *places), (*places, len(text)), strict=True)]


def _named(name: str, text: Callable[[Any], str | bytes]) -> Callable[[Any], str]:
    prefix = encode(name.encode()) + "="
    room = max(2 * _HASH_DIGITS, min(MAX_VALUE_BYTES, _MAX_NAME_BYTES - len(prefix)))

    def level(value: Any) -> str:
        written = b"" if value is None else text(value)
        octets = written.encode() if isinstance(written, str) else written
        return prefix + (encode(octets, room) if octets else NO_VALUE)

    return level


def staging_root(pipeline: str) -> str:
    """Where all staged files of a pipeline are."""
    # "compact" is another's room below _staging, and "." and ".." would be directories of the system.
    return f"{STAGING}/%63ompact" if pipeline == "compact" else f"{STAGING}/{encode(pipeline.encode())}"


def staging_directory(pipeline: str, topic: str, partition: int) -> str:
    """Where the staged files of one partition are: what is there and in no manifest is left over."""
    return f"{staging_root(pipeline)}/{_short(topic)}-{partition}"


def redrive_directory(pipeline: str) -> str:
    """Where redriven rows are staged: no claim of a partition makes these leftovers."""
    return f"{staging_root(pipeline)}/redrive"


def staged_key(pipeline: str, topic: str, partition: int, start: int, epoch: int, number: int) -> str:
    """Key of a file that is being written; not ".parquet", which a plain glob would read."""
    return f"{staging_directory(pipeline, topic, partition)}/{_staged_name(topic, partition, start, epoch, number)}"


def redrive_key(pipeline: str, topic: str, partition: int, start: int, epoch: int, number: int) -> str:
    """Key of a file of redriven rows; `number` is one that nobody else takes."""
    return f"{redrive_directory(pipeline)}/{_staged_name(topic, partition, start, epoch, number)}"


def _staged_name(topic: str, partition: int, start: int, epoch: int, number: int) -> str:
    return f"{_short(topic)}-{partition}-{start}-e{epoch}-{number}.parquet.staged"


_STAGED = re.compile(r"-(?P<start>\d+)-e(?P<epoch>\d+)-(?P<number>\d+)\.parquet\.staged")


def staged_epoch(key: str) -> int | None:
    """The epoch in a staged file's key; None for another's file."""
    found = _STAGED.search(key)
    return int(found["epoch"]) if found and key.endswith(found[0]) else None


def final_name(topic: str, partition: int, start: int, end: int, epoch: int, number: int) -> str:
    """Name of a file in its hive directory; nobody writes the same one again, since no epoch comes twice."""
    return f"{_short(topic)}-{partition}-{start}-{end}-e{epoch}-{number}.parquet"


def _short(topic: str) -> str:
    """A topic's name, cut where a file's name could become too long."""
    return topic if len(topic) <= _MAX_TOPIC else encode(topic.encode() + b"/", _MAX_TOPIC)


def hive_values(directory: str) -> dict[str, bytes | None]:
    """What a directory's name says of its rows: partition name -> value, None for null or empty.

    Raises: ValueError for a value that was cut.
    """
    found: dict[str, bytes | None] = {}
    for part in filter(None, directory.split("/")):
        name, _, value = part.partition("=")
        found[decode(name).decode()] = None if value == NO_VALUE else decode(value)
    return found
