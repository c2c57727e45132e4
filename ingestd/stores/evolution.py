"""Columns that ingestd adds to a table for new fields, remembered in the ledger, for every store
alike. Knows no database, no records and no lease.

A column and the memory of it commit together. What another has made is never filled: a producer must not be able to
write a column of the table that the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from msgspec import Struct

from ingestd.config import options as cfg

MAX_EVOLVED_COLUMNS = 100
"""Of one table. Beyond them, a producer that invents names would fill the table with columns."""


class Evolved(Struct, frozen=True):
    """What the ledger and the table tell."""

    columns: dict[str, str]
    """Column -> contract type of those that were added for this pipeline or another of the same table, oldest first."""
    others: frozenset[str]
    """Columns of the table that nobody evolved."""


class EvolvedColumns(Protocol):
    """The evolved columns of one pipeline's table, on connections as its store opens them."""

    def read(self, connection: Any) -> Evolved:
        """What is there. Commits."""
        ...

    def add(self, connection: Any, fields: Mapping[str, str]) -> list[str]:
        """Add a nullable column for each field that has none yet, and remember it; the fields that now have one.

        Commits. Raises what the driver raises, a lock that is not to be had within two seconds among it.
        """
        ...


def wanted_columns(pipeline: cfg.Pipeline, evolved: Evolved, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that may become columns, in order; SQLite, and people, take Name and name for the same."""
    taken = {name.lower() for name in (*evolved.others, *evolved.columns)}
    taken |= {column.name.lower() for column in pipeline.column}
    wanted: dict[str, str] = {}
    for name, kind in sorted(fields.items()):
        if name.lower() not in taken and len(evolved.columns) + len(wanted) < MAX_EVOLVED_COLUMNS:
            wanted[name] = kind
            taken.add(name.lower())
    return wanted


def evolved_columns(rows: Iterable[tuple[str, str]], columns: Iterable[tuple[str]]) -> Evolved:
    """Out of the ledger's (column, type) rows and the names of the table's columns."""
    found = dict(rows)
    return Evolved(found, frozenset(name for (name,) in columns) - found.keys())
