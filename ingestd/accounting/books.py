"""What ledger and table say, read in one snapshot, from PostgreSQL or SQLite alike. Judges nothing."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import IsolationLevel

from ingestd.accounting.ranges import Fates, Range, Span, union
from ingestd.config import options as cfg
from ingestd.errors import StartupError
from ingestd.sinks.postgres.versions_sql import OLDER_ROWS, versions_table
from ingestd.stores.open import is_sqlite
from ingestd.stores.postgres.errors import first_line
from ingestd.stores.postgres.store import connect, place
from ingestd.stores.store import LedgerKey

_MINE = "pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic"
_NAMED = re.compile(r'"(?:[^"]|"")*"|:([a-z_]+)')
"""Named values, and quoted names, which may look like one inside."""
_COUNTERS = ", ".join(Fates.__struct_fields__)


class Lineage(Struct, frozen=True):
    """Columns of the table that say where its rows came from."""

    partition: str
    offset: str
    topic: str | None


class Step(Struct, frozen=True):
    """A pair of neighbouring offsets that are not one apart: a gap between them, or the same one twice."""

    offset: int
    next_offset: int


class Books:
    """Questions to one snapshot; every answer is of the same moment."""

    def __init__(self, connection: Any, prefix: str):
        self._connection = connection
        self._ledger = prefix
        self._translate = prefix != "ingestd_"

    def ask(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query with :named values; `ingestd.` stands for the ledger's place."""
        text = query.replace("ingestd.", self._ledger)
        if self._translate:
            text = _NAMED.sub(lambda found: f"%({found[1]})s" if found[1] else found[0], text.replace("%", "%%"))
        cursor = self._connection.cursor()
        cursor.execute(text.encode() if self._translate else text, values)
        return list(cursor.fetchall())

    def exists(self, table: str) -> bool:
        """Whether there is a table of this name, written as in the configuration (or ingestd.x)."""
        if self._translate:
            name = ".".join(_quoted(part) for part in table.split(".", 1))
            return bool(self.ask("SELECT 1 WHERE to_regclass(:name) IS NOT NULL", name=name))
        name = table.replace("ingestd.", self._ledger)
        return bool(self.ask("SELECT 1 FROM sqlite_master WHERE name = :name", name=name))

    def ranges(self, key: LedgerKey) -> list[Range]:
        """Every range of the pipeline, by partition in the order of time; the current one last."""
        query = f"""
            SELECT partition, id, coalesce(topic_id, ''), range_start, range_end, ended_by, {_COUNTERS}
            FROM ingestd.ranges WHERE {_MINE}
            UNION ALL
            SELECT partition, NULL, coalesce(topic_id, ''), coalesce(range_start, next_offset),
                   coalesce(range_end, next_offset), NULL, {_COUNTERS}
            FROM ingestd.cursors WHERE {_MINE}"""
        found = [
            Range(
                partition=row[0],
                number=row[1],
                topic_id=row[2],
                start=row[3],
                end=row[4],
                ended_by=row[5],
                fates=Fates(**dict(zip(Fates.__struct_fields__, row[6:], strict=True))),
            )
            for row in self.ask(query, **key.params())
        ]
        return sorted(found, key=lambda one: (one.partition, one.number is None, one.number or 0))

    def cursors(self, key: LedgerKey) -> dict[int, tuple[int, bool]]:
        """By partition: where it stands, and whether a version without ranges wrote it last."""
        query = f"SELECT partition, next_offset, range_end IS NULL FROM ingestd.cursors WHERE {_MINE}"
        return {row[0]: (row[1], bool(row[2])) for row in self.ask(query, **key.params())}

    def dead_letters(self, key: LedgerKey) -> dict[tuple[int, str], int]:
        """How many dead letters there are, by partition and topic id."""
        query = f"SELECT partition, topic_id, count(*) FROM ingestd.dead_letters WHERE {_MINE} GROUP BY 1, 2"
        return {(row[0], row[1]): row[2] for row in self.ask(query, **key.params())}

    def stray_dead_letters(self, key: LedgerKey, partition: int, topic_id: str, spans: Sequence[Span]) -> list[Span]:
        """Dead letters at offsets that no commit covered; the first thousand."""
        query = f"""
            SELECT "offset" FROM ingestd.dead_letters
            WHERE {_MINE} AND partition = :partition AND topic_id = :topic_id AND NOT {_covered('"offset"', spans)}
            ORDER BY 1 LIMIT 1000"""
        rows = self.ask(query, **key.params(partition=partition, topic_id=topic_id))
        return union((row[0], row[0] + 1) for row in rows)

    def steps(
        self, key: LedgerKey, table: str, lineage: Lineage, partition: int, topic_id: str, spans: Sequence[Span]
    ) -> list[Step]:
        """Where the offsets of rows and dead letters of a partition are not one after the other, over `spans`."""
        bounds = sorted({bound for start, end in spans for bound in (start - 1, end)})
        guards = " ".join(f"UNION ALL SELECT {bound}" for bound in bounds)
        topic = f"AND {_quoted(lineage.topic)} = :topic" if lineage.topic else ""
        query = f"""
            SELECT at, next_at FROM (
                SELECT at, lead(at) OVER (ORDER BY at) AS next_at FROM (
                    SELECT {_quoted(lineage.offset)} AS at FROM {_table(table)}
                    WHERE {_quoted(lineage.partition)} = :partition {topic}
                    UNION ALL
                    SELECT "offset" FROM ingestd.dead_letters
                    WHERE {_MINE} AND partition = :partition AND topic_id = :topic_id
                    {guards}
                ) AS seen
            ) AS stepped WHERE next_at <> at + 1 ORDER BY at"""
        rows = self.ask(query, **key.params(partition=partition, topic_id=topic_id))
        return [Step(*row) for row in rows]

    def strangers(self, key: LedgerKey, table: str, lineage: Lineage, covered: dict[int, list[Span]]) -> list[Any]:
        """(partition, offset) of rows that no commit of the pipeline covers, nulls included; 100 at most."""
        offset, partition = _quoted(lineage.offset), _quoted(lineage.partition)
        known = [f"({partition} = {p} AND {_covered(offset, spans)})" for p, spans in covered.items()]
        condition = f"({' OR '.join(known) or '1 = 0'})"
        if lineage.topic:
            condition += f" AND {_quoted(lineage.topic)} = :topic"
        query = f"""
            SELECT {partition}, {offset} FROM {_table(table)}
            WHERE CASE WHEN {condition} THEN 0 ELSE 1 END = 1 ORDER BY 1, 2 LIMIT 100"""
        return self.ask(query, **({"topic": key.topic} if lineage.topic else {}))


def live_keys(books: Books, pipeline: str) -> int | None:
    """How many keys the memory of hard deletes knows as not deleted; None when there is no memory yet."""
    if books.exists("ingestd.versions"):  # SQLite: one table for all pipelines
        query = "SELECT count(*) FROM ingestd.versions WHERE pipeline = :pipeline AND NOT deleted"
        return int(books.ask(query, pipeline=pipeline)[0][0])
    table = f"ingestd.{versions_table(pipeline)}"
    if not books.exists(table):
        return None
    return int(books.ask(f"SELECT count(*) FROM {_table(table)} WHERE NOT deleted")[0][0])


def has_older_rows(books: Books, pipeline: str) -> bool:
    """Whether the table had rows before the memory of hard deletes was made; SQLite keeps no note of it."""
    if books.exists("ingestd.versions"):
        return False
    query = "SELECT obj_description(to_regclass(:name), 'pg_class') = :comment"
    name = _table(f"ingestd.{versions_table(pipeline)}")
    return bool(books.ask(query, name=name, comment=OLDER_ROWS)[0][0])


def count_rows(books: Books, table: str) -> int:
    """How many rows the table has."""
    return int(books.ask(f"SELECT count(*) FROM {_table(table)}")[0][0])


def _covered(column: str, spans: Sequence[Span]) -> str:
    return "(" + (" OR ".join(f"({column} >= {s} AND {column} < {e})" for s, e in spans) or "1 = 0") + ")"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(name: str) -> str:
    return ".".join(_quoted(part) for part in name.split(".", 1))


@contextmanager
def open_books(store: cfg.Store) -> Iterator[Books]:
    """The books of a store in one read-only snapshot; writers are not held up.

    Raises: StartupError when the store cannot be read, or has no ledger.
    """
    url = str.__str__(store.url)
    try:
        if is_sqlite(store):
            from ingestd.stores.sqlite.reading import open_reading

            with open_reading(url) as reading:
                yield _checked(Books(reading, "ingestd_"), url)
            return
        with connect(url, "ingestd verify") as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            yield _checked(Books(connection, "ingestd."), place(url))
    except psycopg.Error as error:
        raise StartupError(f"PostgreSQL at {place(url)}: {error.sqlstate}: {first_line(error)}") from error
    except sqlite3.Error as error:
        raise StartupError(f"{url}: {error}") from error


def _checked(books: Books, where: str) -> Books:
    for table in ("cursors", "ranges", "dead_letters"):
        if not books.exists(f"ingestd.{table}"):
            raise StartupError(f"{where}: no table {table} in the ledger; run the pipeline once with this version")
    return books
