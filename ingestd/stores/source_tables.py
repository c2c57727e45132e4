"""Tables that follow a source's table: what the ledger remembers of them and what has to change, for every store alike.

Knows no database and no lease. What is remembered and the table itself change in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct, structs

from ingestd.config.live_copy import live_copy
from ingestd.config.options import Column, Pipeline
from ingestd.decode.debezium.types import covers
from ingestd.errors import Halt
from ingestd.schema.source import SourceColumn
from ingestd.schema.types import MAX_PRECISION, ColumnType, parse_type


class SourceTable(Struct, frozen=True):
    """The copy's columns as the ledger remembers them: names and contract types in table order, and the key."""

    columns: tuple[tuple[str, str], ...]
    key: tuple[str, ...]
    defaults: tuple[SourceColumn, ...] = ()
    """Columns that the source filled in when it got them, as told first: events of before do not bring them."""

    def texts(self) -> dict[str, str]:
        """As `read_texts` reads it."""
        return {name: msgspec.json.encode(getattr(self, name)).decode() for name in self.__struct_fields__}


def read_texts(columns: str, key: str, defaults: str) -> SourceTable:
    """What `SourceTable.texts` wrote."""
    return SourceTable(
        msgspec.json.decode(columns, type=tuple[tuple[str, str], ...]),
        msgspec.json.decode(key, type=tuple[str, ...]),
        msgspec.json.decode(defaults, type=tuple[SourceColumn, ...]),
    )


class Growth(Struct, frozen=True):
    """From what is remembered to what the latest events need."""

    table: SourceTable
    added: tuple[tuple[str, str], ...] = ()
    widened: tuple[tuple[str, str], ...] = ()


class SourceTables(Protocol):
    """The copy of one topic's source table, on connections as its store opens them."""

    def read(self, connection: Any) -> SourceTable | None:
        """What is remembered; None before the first event. Commits."""
        ...

    def grow(
        self,
        connection: Any,
        grown: Callable[[SourceTable | None], Growth],
        defaults: Callable[[Sequence[str]], Mapping[str, Any]],
    ) -> Growth:
        """Change the copy, when it is there, as `grown` of what is remembered says, and remember that. Commits.

        `defaults` gives an Arrow array of one value for those of the added columns that the source fills in: rows that
        are already here had that value at the source without a further event.
        Raises what the driver raises, a lock that is not to be had within two seconds among it; Halt.
        """
        ...


def grown(
    known: SourceTable | None,
    columns: Sequence[Column],
    key: Sequence[str],
    defaults: Sequence[SourceColumn],
    where: str,
) -> Growth:
    """What the copy needs for events with `columns`; nothing is ever dropped or narrowed.

    `defaults` are the columns that the source fills in; of one that is known by now nothing changes.

    Raises: Halt for what cannot follow by itself, `where` (topic and table) in the message.
    """
    if known is None:
        named = tuple((column.name, column.type) for column in columns)
        return Growth(SourceTable(named, tuple(key), tuple(defaults)))
    if set(known.key) != set(key):
        mend = "make a new copy: another table.name and another pipeline name, read from the beginning"
        raise Halt(f"{where}: the source's primary key is now ({', '.join(key)}), not ({', '.join(known.key)}); {mend}")
    types = dict(known.columns)
    added, widened = [], []
    for column in columns:
        stored = types.get(column.name)
        if stored is None:
            added.append((column.name, column.type))
        elif not covers(parse_type(stored), parse_type(column.type)):
            widened.append((column.name, _wider(stored, column, where)))
    types.update(widened)
    types.update(added)
    filled = (*known.defaults, *(column for column in defaults if column.name in dict(added)))
    return Growth(SourceTable(tuple(types.items()), known.key, filled), tuple(added), tuple(widened))


def copied(pipeline: Pipeline, known: SourceTable) -> Pipeline:
    """The concrete pipeline of a copy whose columns are known."""
    columns = tuple(Column(name=name, type=kind, required=name in known.key) for name, kind in known.columns)
    table = structs.replace(pipeline.table, key=known.key) if pipeline.has_table() else pipeline.table
    return live_copy(structs.replace(pipeline, column=columns, table=table))


def _wider(stored: str, column: Column, where: str) -> str:
    """The type that takes what is stored and what comes."""
    have, seen = parse_type(stored), parse_type(column.type)
    if covers(seen, have):
        return column.type
    both = _numeric_of_both(have, seen)
    if both is not None:
        return both
    mend = f"give the copy's column another type by hand, or drop it ({column.name}), then reload (HUP)"
    raise Halt(f"{where}: column {column.name} is {stored} here and {column.type} at the source by now; {mend}")


_WHOLE_DIGITS = {"int2": 5, "int4": 10, "int8": 19}


def _numeric_of_both(have: ColumnType, seen: ColumnType) -> str | None:
    """The numeric that takes both, of which one may be an integer."""
    digits = [_digits(one) for one in (have, seen)]
    if have.is_array or seen.is_array or None in digits:
        return None
    whole, scale = (max(one[place] for one in digits if one) for place in (0, 1))
    return f"numeric({whole + scale},{scale})" if whole + scale <= MAX_PRECISION else None


def _digits(kind: ColumnType) -> tuple[int, int] | None:
    """Before and behind the point."""
    if kind.scalar == "numeric":
        return kind.args[0] - kind.args[1], kind.args[1]
    return (_WHOLE_DIGITS[kind.scalar], 0) if kind.scalar in _WHOLE_DIGITS else None
