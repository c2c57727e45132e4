"""Where the files of a manifest can be read at this moment, and the partition values of each. Knows no DuckDB."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from msgspec import Struct

from ingestd.lake.layout import decode
from ingestd.lake.place import Place
from ingestd.stores.manifest import COMMITTED, LakeFile

NUMBERS = ("year", "month", "day", "hour")
"""Partitions made of a timestamp, as numbers; `date` is a date."""

Value = int | str | date | None


class Vanished(Exception):
    """A file of the manifest is not there any more: it was merged or removed since; ask the manifest again."""


class Readable(Struct, frozen=True):
    """The files of one moment, each where it can be read."""

    place: Place
    files: Sequence[LakeFile]
    keys: Sequence[str]
    """Of each file: its own key, or the staged one of a file that is committed and not settled yet."""

    def root(self) -> Path | None:
        """The directory that the keys are relative to; None for an object store."""
        return _root(self.place)

    def all_there(self) -> bool:
        """Whether every file can still be read at its key."""
        return all(_is_there(self.place, key) for key in self.keys)


def readable(place: Place, files: Sequence[LakeFile]) -> Readable:
    """Where each file is now. Raises: Vanished."""
    local = _root(place) is not None
    keys = []
    for file in files:
        if file.state == COMMITTED and _is_there(place, file.staged):
            keys.append(file.staged)
        elif (local or file.state == COMMITTED) and not _is_there(place, file.key):
            raise Vanished(file.key)
        else:
            keys.append(file.key)
    return Readable(place, files, keys)


def partition_values(files: Sequence[LakeFile], absent: Sequence[str]) -> dict[str, list[Value]]:
    """Partition name -> its value for each file, for those partitions that are no column of the files.

    A column of the files is read from the files: a directory cannot tell null from an empty text, nor hold a long one.
    `absent` are the columns of the files. Numbers for the parts of a timestamp, else text.
    """
    found: dict[str, list[Value]] = {}
    for n, file in enumerate(files):
        for part in filter(None, file.directory.split("/")):
            name, _, written = part.partition("=")
            column = decode(name).decode()
            if column not in absent:
                found.setdefault(column, [None] * len(files))[n] = _value(column, written)
    return found


def _value(column: str, written: str) -> Value:
    if written == "__HIVE_DEFAULT_PARTITION__":
        return None
    if column in NUMBERS and written.isdecimal():
        return int(written)
    try:
        if column == "date":
            return date.fromisoformat(written)
        return decode(written).decode("utf-8", "replace")
    except ValueError:
        return written


def _root(place: Place) -> Path | None:
    return None if place.url.startswith("s3://") else Path(place.url)


def _is_there(place: Place, key: str) -> bool:
    root = _root(place)
    if root is not None:
        return os.path.exists(root / key)
    try:
        place.read(key).close()
    except FileNotFoundError:
        return False
    return True
