"""The dead letters of one pipeline in SQLite: found, locked, removed, passed on. Knows no sink and no Kafka."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from ingestd.errors import ConfigError
from ingestd.stores.dead_letters import Group, Left, Letter, Purpose, Wanted
from ingestd.stores.letter_columns import headers_of
from ingestd.stores.sqlite.file import begin
from ingestd.stores.sqlite.reading import open_reading
from ingestd.stores.sqlite.store import SqliteStore
from ingestd.stores.store import ALL_TOPICS, LedgerKey, Transaction

_COLUMNS = (
    'id, topic, topic_id, partition, "offset", record_key, payload, headers, record_time, stage, column_name, reason,'
    " sqlstate, dead_at"
)
_SIZES = "SELECT id, coalesce(length(payload), 0) FROM ingestd_dead_letters"
_OF_ALL_TOPICS = "pipeline = :pipeline AND sink_group = :sink_group"
_MINE = f"{_OF_ALL_TOPICS} AND topic = :topic"
_THESE = "id IN (SELECT value FROM json_each(:ids))"
_CONDITIONS = {
    "ids": _THESE,
    "stage": "stage = :stage",
    "column": "column_name = :column",
    "sqlstate": "sqlstate = :sqlstate",
    "reason": "instr(lower(reason), lower(:reason)) > 0",
    "partitions": "partition IN (SELECT value FROM json_each(:partitions))",
    "offset_start": '"offset" >= :offset_start',
    "offset_end": '"offset" < :offset_end',
    "since": "dead_at >= :since",
    "until": "dead_at < :until",
}
_COUNT = f"""
UPDATE ingestd_cursors
SET redriven = redriven + :redriven, dropped = dropped + :dropped, inserted = inserted + :inserted,
    updated = updated + :updated, stale = stale + :stale, folded = folded + :folded,
    duplicates = duplicates + :duplicates, deleted = deleted + :deleted,
    passed = passed + :passed
WHERE {_MINE} AND partition = :partition"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SqliteLetters:
    """Implements `DeadLetterBox` and `Outbox`; what only reads has a connection of its own that can change nothing."""

    def __init__(self, url: str, store: SqliteStore, key: LedgerKey):
        self._url = url
        self._store = store
        self._key = key
        self._mine = _MINE if key.topic != ALL_TOPICS else _OF_ALL_TOPICS

    def find(self, wanted: Wanted) -> list[int]:
        """The ids of the letters that are wanted."""
        order = "DESC" if wanted.newest else "ASC"
        query = f"SELECT id FROM ingestd_dead_letters WHERE {self._condition(wanted)} ORDER BY id {order}"
        return [row[0] for row in self._ask(query + _limit(wanted), wanted)]

    def groups(self, wanted: Wanted) -> list[Group]:
        """The wanted letters by reason, the most frequent first."""
        query = (
            "SELECT stage, column_name, sqlstate, reason, count(*), min(dead_at), max(dead_at)"
            f" FROM ingestd_dead_letters WHERE {self._condition(wanted)}"
            " GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4"
        )
        rows = self._ask(query + _limit(wanted), wanted)
        return [Group(*row[:5], *map(datetime.fromisoformat, row[5:])) for row in rows]

    def read(self, ids: Sequence[int], max_bytes: int | None = None) -> list[Letter]:
        """These letters by id, as many as fit."""
        with open_reading(self._url) as connection:
            chosen = self._key.params(ids=json.dumps(list(ids)))
            sizes = connection.execute(f"{_SIZES} WHERE {self._mine} AND {_THESE} ORDER BY id", chosen).fetchall()
            return self._letters(connection.cursor(), _fitting(sizes, max_bytes))

    def lock(self, ids: Sequence[int], tx: Transaction) -> dict[int, int]:
        """id -> partition of the letters that are there: the transaction has the file for itself."""
        query = f"SELECT id, partition FROM ingestd_dead_letters WHERE {self._mine} AND {_THESE}"
        return dict(tx.cursor.execute(query, self._key.params(ids=json.dumps(list(ids)))).fetchall())

    def _letters(self, cursor: sqlite3.Cursor, ids: Sequence[int]) -> list[Letter]:
        query = f"SELECT {_COLUMNS} FROM ingestd_dead_letters WHERE {self._mine} AND {_THESE} ORDER BY id"
        return [_letter(row) for row in cursor.execute(query, self._key.params(ids=json.dumps(list(ids)))).fetchall()]

    def remove(self, ids: Sequence[int], left: dict[int, Left], tx: Transaction) -> None:
        """Delete letters, and count them with their cursors."""
        tx.cursor.execute(f"DELETE FROM ingestd_dead_letters WHERE {_THESE}", {"ids": json.dumps(list(ids))})
        for partition, counts in sorted(left.items()):
            values = {**structs.asdict(counts.fates), "redriven": counts.redriven, "dropped": counts.dropped}
            tx.cursor.execute(_COUNT, self._key.params(partition=partition, **values))

    def prepare(self) -> None:
        """Make the indexes over what waits."""
        connection = self._store.open()
        with self._store.deciding():
            for purpose in ("forwarded", "exported"):
                connection.execute(
                    f"CREATE INDEX IF NOT EXISTS ingestd_dead_letters_not_{purpose}"
                    f" ON ingestd_dead_letters (pipeline, id) WHERE {purpose}_at IS NULL"
                )

    def waiting(self, purpose: Purpose, limit: int, max_bytes: int) -> list[Letter]:
        """The oldest letters that wait, as many as fit."""
        query = f"{_SIZES} WHERE {self._mine} AND {purpose}_at IS NULL ORDER BY id LIMIT :limit"
        connection = self._store.open()
        with self._store.deciding():
            sizes = connection.execute(query, self._key.params(limit=limit)).fetchall()
            return self._letters(connection.cursor(), _fitting(sizes, max_bytes))

    def mark(self, purpose: Purpose, ids: Sequence[int]) -> None:
        """These letters wait no longer."""
        connection = self._store.open()
        statement = (
            f"UPDATE ingestd_dead_letters SET {purpose}_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE {_THESE}"
        )
        with self._store.deciding():
            begin(connection).execute(statement, {"ids": json.dumps(list(ids))})
            connection.execute("COMMIT")

    def _condition(self, wanted: Wanted) -> str:
        chosen = [sql for name, sql in _CONDITIONS.items() if getattr(wanted, name) not in (None, ())]
        if wanted.where is not None:
            # On lines of its own: a comment in it must not hide the parenthesis.
            chosen.append(f"id IN (SELECT id FROM ingestd_dead_letters WHERE (\n{wanted.where}\n))")
        return " AND ".join([self._mine, *chosen])

    def _ask(self, query: str, wanted: Wanted) -> list[Any]:
        values = self._key.params(**{name: _value(value) for name, value in structs.asdict(wanted).items()})
        with open_reading(self._url) as connection:
            if not connection.execute("PRAGMA table_info(ingestd_dead_letters)").fetchall():
                raise ConfigError(["the ledger is not there yet; run the pipeline once first"])
            try:
                return connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                if wanted.where is None:
                    raise
                raise ConfigError([f"--where: {error}"]) from error


def _fitting(sizes: list[Any], max_bytes: int | None) -> list[int]:
    """The first ids of (id, bytes), as many as fit, and one at least."""
    chosen: list[int] = []
    so_far = 0
    for number, nbytes in sizes:
        so_far += nbytes
        if chosen and max_bytes is not None and so_far > max_bytes:
            break
        chosen.append(number)
    return chosen


def _limit(wanted: Wanted) -> str:
    return " LIMIT :limit" if wanted.limit is not None else ""


def _value(value: Any) -> Any:
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _letter(row: Sequence[Any]) -> Letter:
    headers = headers_of(None if row[7] is None else json.loads(row[7]))
    time_ms = None if row[8] is None else (datetime.fromisoformat(row[8]) - _EPOCH) // timedelta(milliseconds=1)
    return Letter(*[*row[:7], headers, time_ms, *row[9:13], datetime.fromisoformat(row[13])])
