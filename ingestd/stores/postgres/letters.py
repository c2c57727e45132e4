"""The dead letters of one pipeline in PostgreSQL: found, locked, removed, passed on. Knows no sink and no Kafka."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import psycopg
from msgspec import structs

from ingestd.errors import ConfigError
from ingestd.stores.dead_letters import Group, Left, Letter, Purpose, Wanted
from ingestd.stores.letter_columns import headers_of
from ingestd.stores.postgres.errors import first_line
from ingestd.stores.postgres.statements import LETTERS
from ingestd.stores.postgres.store import PostgresStore
from ingestd.stores.store import ALL_TOPICS, LedgerKey, Transaction

_COLUMNS = LETTERS["columns"].decode()
_OF_ALL_TOPICS = "pipeline = %(pipeline)s AND sink_group = %(sink_group)s"
_MINE = f"{_OF_ALL_TOPICS} AND topic = %(topic)s"
_CONDITIONS = {
    "ids": "id = ANY(%(ids)s)",
    "stage": "stage = %(stage)s",
    "column": "column_name = %(column)s",
    "sqlstate": "sqlstate = %(sqlstate)s",
    "reason": "strpos(lower(reason), lower(%(reason)s)) > 0",
    "partitions": "partition = ANY(%(partitions)s)",
    "offset_start": '"offset" >= %(offset_start)s',
    "offset_end": '"offset" < %(offset_end)s',
    "since": "dead_at >= %(since)s",
    "until": "dead_at < %(until)s",
}
_WHERE_TIMEOUT = "60s"
_NO_LIMIT = 2**62


class PostgresLetters:
    """Implements `DeadLetterBox` and `Outbox` on the connection of a store."""

    def __init__(self, store: PostgresStore, key: LedgerKey):
        self._store = store
        self._key = key
        self._mine = _MINE if key.topic != ALL_TOPICS else _OF_ALL_TOPICS

    def find(self, wanted: Wanted) -> list[int]:
        """The ids of the letters that are wanted."""
        order = "DESC" if wanted.newest else "ASC"
        query = f"SELECT id FROM ingestd.dead_letters WHERE {self._condition(wanted)} ORDER BY id {order}"
        return [row[0] for row in self._ask(query + (" LIMIT %(limit)s" if wanted.limit is not None else ""), wanted)]

    def groups(self, wanted: Wanted) -> list[Group]:
        """The wanted letters by reason, the most frequent first."""
        rows = self._ask(
            "SELECT stage, column_name, sqlstate, reason, count(*), min(dead_at), max(dead_at)"
            f" FROM ingestd.dead_letters WHERE {self._condition(wanted)}"
            " GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4" + (" LIMIT %(limit)s" if wanted.limit else ""),
            wanted,
        )
        return [Group(*row[:5], *(moment.astimezone(UTC) for moment in row[5:])) for row in rows]

    def read(self, ids: Sequence[int], max_bytes: int | None = None) -> list[Letter]:
        """These letters by id, as many as fit."""
        chosen = f"SELECT id, payload FROM ingestd.dead_letters WHERE {self._mine} AND id = ANY(%(ids)s)"
        values = self._key.params(ids=list(ids), max_bytes=max_bytes if max_bytes is not None else _NO_LIMIT)
        with self._reading() as cursor:
            return [_letter(row) for row in cursor.execute(_fitting(chosen), values)]

    def lock(self, ids: Sequence[int], tx: Transaction) -> dict[int, int]:
        """id -> partition of the letters that are there and free, locked by `tx`."""
        rows = tx.cursor.execute(LETTERS["lock"], self._key.params(ids=list(ids)))
        return dict(rows.fetchall())

    def remove(self, ids: Sequence[int], left: dict[int, Left], tx: Transaction) -> None:
        """Delete locked letters, then count them with their cursors, in partition order as every transaction does."""
        tx.cursor.execute(LETTERS["remove"], {"ids": list(ids)})
        for partition in sorted(left):
            counts = left[partition]
            values = {**structs.asdict(counts.fates), "redriven": counts.redriven, "dropped": counts.dropped}
            tx.cursor.execute(LETTERS["count"], self._key.params(partition=partition, **values))

    def prepare(self) -> None:
        """Make the indexes over what waits; without the privilege, finding it takes a look at every letter."""
        connection = self._store.open()
        with self._store.deciding(), connection.cursor() as cursor:
            found = cursor.execute(LETTERS["outbox_index_exists"]).fetchone()
            assert found is not None
            missing = [n for n, there in zip(("not_forwarded", "not_exported"), found, strict=True) if not there]
            try:
                for name in missing:
                    cursor.execute(LETTERS[f"index_{name}"])
                connection.commit()
            except psycopg.errors.InsufficientPrivilege:
                connection.rollback()

    def waiting(self, purpose: Purpose, limit: int, max_bytes: int) -> list[Letter]:
        """The oldest letters that wait, as many as fit."""
        first = (
            f"SELECT id, payload FROM ingestd.dead_letters WHERE {self._mine} AND {purpose}_at IS NULL"
            " ORDER BY id LIMIT %(limit)s"
        )
        with self._reading() as cursor:
            rows = cursor.execute(_fitting(first), self._key.params(limit=limit, max_bytes=max_bytes))
            return [_letter(row) for row in rows]

    def mark(self, purpose: Purpose, ids: Sequence[int]) -> None:
        """These letters wait no longer."""
        connection = self._store.open()
        with self._store.deciding(), connection.cursor() as cursor:
            cursor.execute(LETTERS[f"mark_{purpose}"], {"ids": list(ids)})
            connection.commit()

    def _condition(self, wanted: Wanted) -> str:
        chosen = [sql for name, sql in _CONDITIONS.items() if getattr(wanted, name) not in (None, ())]
        if wanted.where is not None:
            # On lines of its own: a comment in it must not hide the parenthesis.
            condition = wanted.where.replace("%", "%%")
            chosen.append(f"id IN (SELECT id FROM ingestd.dead_letters WHERE (\n{condition}\n))")
        return " AND ".join([self._mine, *chosen])

    def _ask(self, query: str, wanted: Wanted) -> list[Any]:
        values = self._key.params(
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name, value in structs.asdict(wanted).items()
            }
        )
        with self._reading() as cursor:
            try:
                # With values the server takes one statement only; whatever follows a semicolon is a syntax error.
                return cursor.execute(query.encode(), values).fetchall()
            except psycopg.Error as error:
                if wanted.where is None or (error.sqlstate or "08")[:2] not in ("22", "25", "42", "57", "0A"):
                    raise
                raise ConfigError([f"--where: {error.sqlstate}: {first_line(error)}"]) from error

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor in a transaction that can change nothing."""
        connection = self._store.open()
        with self._store.deciding(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", (_WHERE_TIMEOUT,))
            found = cursor.execute(LETTERS["exists"]).fetchone()
            if not found or not found[0]:
                raise ConfigError(["the ledger is not there yet; run the pipeline once first"])
            yield cursor
            connection.rollback()


def _fitting(chosen: str) -> bytes:
    """The whole letters of a query for (id, payload): the first of them, as many as fit, and one at least."""
    return f"""
        SELECT {_COLUMNS} FROM ingestd.dead_letters WHERE id = ANY(ARRAY(
            SELECT id FROM (
                SELECT id, row_number() OVER (ORDER BY id) AS n,
                       sum(coalesce(octet_length(payload), 0)) OVER (ORDER BY id) AS so_far
                FROM ({chosen}) AS chosen
            ) AS sized WHERE so_far <= %(max_bytes)s OR n = 1
        )) ORDER BY id""".encode()


def _letter(row: Sequence[Any]) -> Letter:
    return Letter(*[*row[:7], headers_of(row[7]), *row[8:13], row[13].astimezone(UTC)])
