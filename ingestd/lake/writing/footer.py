"""The footer of a Parquet file: how the manifest tells one file from another. Knows no rows."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

_MAGIC = b"PAR1"
_TAIL = 8
"""Bytes of the footer's length and the magic behind it."""


class Footer(Struct, frozen=True):
    """What a file's end says of it."""

    rows: int
    sha256: str
    """Of the footer, its length and the magic: the last bytes of the file. Hexadecimal."""


class NoFooter(Exception):
    """The file is cut off or is no Parquet file."""


def read_footer(file: Any) -> Footer:
    """The footer of an open `pyarrow.NativeFile`. Raises: NoFooter; OSError as the file raises it."""
    size = file.size()
    if size < len(_MAGIC) + _TAIL:
        raise NoFooter(f"{size} bytes are no Parquet file")
    tail = file.read_at(_TAIL, size - _TAIL)
    length = int.from_bytes(tail[:4], "little") + _TAIL
    if tail[4:] != _MAGIC or length > size:
        raise NoFooter("the file does not end as a Parquet file does")
    whole = file.read_at(length, size - length)
    try:
        # A file of the magic and the footer alone: what counts the rows reads no more of it.
        rows = pq.read_metadata(pa.BufferReader(_MAGIC + whole)).num_rows
    except (OSError, pa.ArrowException) as error:
        raise NoFooter(f"the footer cannot be read: {error}") from error
    return Footer(rows, hashlib.sha256(whole).hexdigest())
