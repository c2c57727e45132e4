"""Says whether two PostgreSQL databases hold the same rows. Knows nothing of how one came to be a copy of the other."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedTable

Session = psycopg.Connection[tuple[Any, ...]]


class Sides(NamedTuple):
    """One table on both sides: how many rows, and a sum over all of them that does not depend on their order."""

    table: str
    source_rows: int
    copy_rows: int
    source_sum: int
    copy_sum: int

    @property
    def equal(self) -> bool:
        """Whether the rows are the same; two different sets of rows have the same sum once in 2**64."""
        return (self.source_rows, self.source_sum) == (self.copy_rows, self.copy_sum)


class Differences(NamedTuple):
    """Keys of one table, as text, that are not the same on both sides."""

    table: str
    missing: list[str]
    extra: list[str]
    other: list[str]

    def __str__(self) -> str:
        def said(what: str, keys: list[str]) -> str:
            return f"{len(keys):,} {what} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})" if keys else ""

        found = [said("missing in the copy", self.missing), said("only in the copy", self.extra)]
        found.append(said("with other values", self.other))
        return f"{self.table}: {', '.join(part for part in found if part) or 'no difference any more'}"


def open_session(url: str) -> Session:
    """An autocommit session that writes every value in the one form that both sides share."""
    session = psycopg.connect(url, autocommit=True)
    session.execute(
        "SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false), "
        "set_config('max_parallel_workers_per_gather', '0', false)"
    )
    return session


def compare(source: Session, copy: Session, tables: Sequence[str]) -> list[Sides]:
    """Each table, "schema.table" on both sides, in the columns of the source; a copy that is not there has no rows."""
    found = []
    for table in tables:
        columns = _columns(source, table)
        found.append(Sides(table, *_interleaved(_summed(source, table, columns), _summed(copy, table, columns))))
    return found


def differences(source: Session, copy: Session, tables: Sequence[str]) -> list[Differences]:
    """What differs, by the first column, which must be the key. Reads every key of both sides into memory."""
    found = []
    for table in tables:
        columns = _columns(source, table)
        here, there = _hashes(source, table, columns), _hashes(copy, table, columns)
        other = [key for key in here if key in there and here[key] != there[key]]
        found.append(
            Differences(table, sorted(here.keys() - there.keys()), sorted(there.keys() - here.keys()), sorted(other))
        )
    return [one for one in found if one.missing or one.extra or one.other]


def row_count(session: Session, table: str) -> int:
    """Rows of the table; 0 before it is there."""
    try:
        found = session.execute(sql.SQL("SELECT count(*) FROM {}").format(_name(table))).fetchone()
    except UndefinedTable:
        return 0
    return int(found[0]) if found else 0


def _interleaved(here: tuple[int, int], there: tuple[int, int]) -> tuple[int, int, int, int]:
    return here[0], there[0], here[1], there[1]


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _columns(source: Session, table: str) -> sql.Composed:
    query = (
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum"
    )
    return sql.SQL(", ").join(sql.Identifier(row[0]) for row in source.execute(query, [table]))


def _summed(session: Session, table: str, columns: sql.Composed) -> tuple[int, int]:
    query = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0) FROM {}")
    try:
        found = session.execute(query.format(columns, _name(table))).fetchone()
    except UndefinedTable:
        return 0, 0
    assert found is not None
    return int(found[0]), int(found[1])


def _hashes(session: Session, table: str, columns: sql.Composed) -> dict[str, int]:
    first = next(iter(columns))
    query = sql.SQL("SELECT {}::text, hashtextextended(ROW({})::text, 0) FROM {}").format(first, columns, _name(table))
    try:
        return dict(session.execute(query).fetchall())
    except UndefinedTable:
        return {}
