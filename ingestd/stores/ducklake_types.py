"""What a DuckLake catalogue says of files and columns, and which type holds two others. Knows no database."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

_INTEGERS = ("int8", "int16", "int32", "int64")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


class FileColumn(Struct, frozen=True, kw_only=True):
    """One column of a Parquet file."""

    name: str
    type: str
    """As DuckLake names it: "int64", "decimal(10,2)", "list"."""
    element: str | None = None
    """Type of a list's elements."""
    nbytes: int = 0
    values: int = 0
    """That are not null."""
    nulls: int | None = None
    low: str | None = None
    high: str | None = None
    """Bounds of the values, as DuckDB writes them; None: not known."""


class Described(Struct, frozen=True):
    """What a file's footer says."""

    footer_size: int
    columns: Sequence[FileColumn]


class Entry(Struct, frozen=True, kw_only=True):
    """A file as the catalogue takes it."""

    directory: str
    name: str
    staged: str
    rows: int
    nbytes: int

    @property
    def key(self) -> str:
        return f"{self.directory}/{self.name}" if self.directory else self.name


Describe = Callable[[Sequence[Entry]], list[Described]]
"""Reads the footers, each at the file's staged key or at its own."""


class Transform(Struct, frozen=True):
    """One column that the files are partitioned by."""

    partition: str
    """Its name in the directories."""
    column: str
    transform: str
    """"identity", "year", "month", "day", "hour"."""


def common_type(one: str, other: str) -> str:
    """The type that DuckDB reads files of both types as, without changing what a filter finds; text in most cases.

    Within one table DuckDB 1.5 narrows a filter's constant to the type of each file (duckdb issue 24900): a wider
    scale, or double for float, would give wrong answers. Text is compared as text, and adding it up is an error.
    """
    if one == other:
        return one
    if one in _INTEGERS and other in _INTEGERS:
        return max(one, other, key=_INTEGERS.index)
    first, second = _DECIMAL.fullmatch(one), _DECIMAL.fullmatch(other)
    if first and second and first[2] == second[2]:
        return max(one, other, key=lambda kind: int(kind[len("decimal(") :].split(",")[0]))
    return "varchar"


class Change(Struct):
    """One snapshot while it is made: its numbers go into the catalogue at the end."""

    run: Callable[..., list[tuple[object, ...]]]
    """(name of a statement, **values) -> rows."""
    snapshot: int
    schema_version: int
    next_catalog_id: int
    next_file_id: int
    is_new: bool
    """False: this transaction has made it before."""
    table_id: int = 0
    said: list[str] = []
    """What changed, in DuckLake's words."""

    def take_catalog_id(self) -> int:
        """An id that no table and no partitioning has."""
        self.next_catalog_id += 1
        return self.next_catalog_id - 1

    def take_file_id(self) -> int:
        """An id that no file and no mapping has."""
        self.next_file_id += 1
        return self.next_file_id - 1
