"""A source's tables, what captures them, and the daemon that copies them; and whether both sides are equal at rest.

Knows nothing of what is changed at the source.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql

from tests.debezium.every_type import SAMPLES
from tests.e2e.running import run_daemon
from tests.fault.daemon import Daemon, wait_for

Source = psycopg.Connection[tuple[Any, ...]]
Rows = list[tuple[str | None, ...]]

_MOST_SAID = 8
MARKS = "marks"
"""A table whose only row tells how far the source's changes have come."""
_CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{prefix}"
group_instance_id = "{prefix}"
properties = {{ "session.timeout.ms" = 3000 }}
[store]
url = "{url}"
[status]
enabled = false
[workers]
{workers}
[[pipeline]]
name = "copies"
topic = "{prefix}.public.*"
{more}
[pipeline.cdc]
columns = "from_events"
[pipeline.table]
name = "{table}"
mode = "upsert"
create = true
"""


def open_source(url: str) -> Source:
    """An autocommit session at the source that writes every value in the form that copies are read in."""
    return psycopg.connect(url, autocommit=True, options="-c TimeZone=UTC -c DateStyle=ISO -c extra_float_digits=1")


class Copies:
    """The copies of all tables in `public` of one source, in a store of either kind."""

    def __init__(self, directory: Path, bootstrap: str, prefix: str, url: str, more: str = "", schema: str = "copy"):
        self.prefix, self.url = prefix, url
        self.is_sqlite = url.startswith("sqlite")
        self.file = directory / "ingestd.toml"
        self._bootstrap = bootstrap
        self._schema = schema
        self._marked = 0
        self.daemon: Daemon | None = None
        self.file.write_text(
            _CONFIG.format(
                bootstrap=bootstrap,
                prefix=prefix,
                url=url,
                workers="" if self.is_sqlite else "max_workers = 2",
                table=self.table("{table}"),
                more=more,
            )
        )

    def table(self, name: str) -> str:
        """The copy's name."""
        return name if self.is_sqlite else f"{self._schema}.{name}"

    def start(self) -> Daemon:
        self.daemon = run_daemon(self.file)
        return self.daemon

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """What the store answers; [] while a table is missing."""
        try:
            if self.is_sqlite:
                with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as file:
                    return file.execute(query).fetchall()
            with psycopg.connect(self.url, autocommit=True, options="-c TimeZone=UTC -c extra_float_digits=1") as store:
                cursor = store.execute(query.encode())
                return cursor.fetchall() if cursor.description else []
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return []
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def rest(self, source: Source, secs: float = 60.0) -> None:
        """Wait until every change that the source has made by now is in the store: a mark behind all, and no lag."""
        self._marked += 1
        source.execute(
            f"INSERT INTO {MARKS} VALUES (1, {self._marked}) ON CONFLICT (id) DO UPDATE SET n = excluded.n".encode()
        )
        wait = self.daemon.wait if self.daemon is not None else wait_for
        wait(lambda: self.ask(f"SELECT n FROM {self.table(MARKS)}") == [(self._marked,)], "the mark", secs)
        wait(self._all_read, "the last offsets", secs)

    def _all_read(self) -> bool:
        ends = self.log_ends()
        name = "ingestd_cursors" if self.is_sqlite else "ingestd.cursors"
        have = {(row[0], row[1]): row[2] for row in self.ask(f"SELECT topic, partition, next_offset FROM {name}")}
        return all(have.get(place) == end for place, end in ends.items())

    def dead_letters(self) -> list[str]:
        """Why records are in no row, each reason once."""
        name = "ingestd_dead_letters" if self.is_sqlite else "ingestd.dead_letters"
        found = self.ask(f"SELECT topic, column_name, reason, count(*) FROM {name} GROUP BY 1, 2, 3")
        return [f"{row[3]} dead letters: {row[0]} {row[1]}: {row[2]}" for row in found]

    def log_ends(self) -> dict[tuple[str, int], int]:
        """By topic and partition."""
        consumer = Consumer({"bootstrap.servers": self._bootstrap, "group.id": "ends", "log_level": 2})
        try:
            topics = consumer.list_topics(timeout=30).topics
            return {
                (name, p): consumer.get_watermark_offsets(TopicPartition(name, p), timeout=30)[1]
                for name, topic in topics.items()
                if name.startswith(f"{self.prefix}.public.")
                for p in topic.partitions
            }
        finally:
            consumer.close()


def columns_of(source: Source, table: str) -> dict[str, str]:
    """Name and type of the columns at the source, in order."""
    found = source.execute(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [table],
    )
    return {name: kind for name, kind in found.fetchall()}


def source_rows(source: Source, table: str, forms: Mapping[str, str]) -> Rows:
    """Every row as text, in order; `forms` by column: SQL of what the copy must hold, where that is not the text."""
    wanted = [
        sql.SQL("({})::text").format(sql.SQL(forms.get(name, "{}")).format(sql.Identifier(name)))
        for name in columns_of(source, table)
    ]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(wanted), sql.Identifier(table))
    return sorted(source.execute(query).fetchall(), key=str)


def copied_rows(copies: Copies, source: Source, table: str) -> Rows:
    """The same of the copy, in the columns of the source."""
    names = [sql.Identifier(name).as_string() for name in columns_of(source, table)]
    if copies.is_sqlite:
        found = copies.ask(f"SELECT {', '.join(names)} FROM {copies.table(table)}")
        return sorted((tuple(map(_written, row)) for row in found), key=str)
    texts = ", ".join(f"{name}::text" for name in names)
    return sorted(copies.ask(f"SELECT {texts} FROM {copies.table(table)}"), key=str)


def _written(value: Any) -> str | None:
    """A value of SQLite as the source writes it with `SQLITE_FORMS`."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else None if value is None else str(value)


_OWN_FORMS = {
    "money": "{}::numeric",
    "json": "{}::jsonb",
    "numeric": "trim_scale({})",
}


def form(column: str, kind: str) -> str:
    """What a copy in PostgreSQL holds, as SQL at the source."""
    sample = SAMPLES.get(column)
    if sample is None or sample.copied is None:
        return _OWN_FORMS.get(kind, "{}")
    return f"({sample.copied})::jsonb" if sample.contract == "jsonb" else sample.copied


def sqlite_form(column: str, kind: str) -> str:
    """SQL of what an SQLite file holds for a value of this type of PostgreSQL, where that is not its text."""
    forms = {
        "boolean": "{}::int",
        "timestamp with time zone": 'to_char({}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')',
        "timestamp without time zone": "to_char({}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')",
        "time without time zone": "to_char({}, 'HH24:MI:SS.US')",
        "integer[]": "array_to_json({})",
    }
    return forms.get(kind) or form(column, kind)


def difference(names: Sequence[str], here: Rows, there: Rows) -> str:
    """What is not the same, by the key, which is the first column; "" when nothing is."""
    if here == there:
        return ""
    ours, theirs = {row[0]: row for row in here}, {row[0]: row for row in there}
    said = [f"{len(here)} rows here, {len(there)} in the copy"]
    said += [
        f"{len(found)} {what} ({found[:3]})"
        for what, found in (
            ("missing", [key for key in ours if key not in theirs]),
            ("extra", [key for key in theirs if key not in ours]),
        )
        if found
    ]
    for key, row in ours.items():
        if len(said) < _MOST_SAID and theirs.get(key, row) != row:
            pairs = zip(names, row, theirs[key], strict=True)
            said.append(f"{key}: " + ", ".join(f"{n} {a!r:.60} is {b!r:.60}" for n, a, b in pairs if a != b))
    return "; ".join(said)


def differences(copies: Copies, source: Source, tables: Sequence[str], form: Callable[[str, str], str]) -> list[str]:
    """By table, what is not equal; `form(column, type)` gives the SQL of what the copy must hold."""
    found = []
    for table in tables:
        forms = {name: form(name, kind) for name, kind in columns_of(source, table).items()}
        said = difference(list(forms), source_rows(source, table, forms), copied_rows(copies, source, table))
        if said:
            found.append(f"{table}: {said}")
    return found
