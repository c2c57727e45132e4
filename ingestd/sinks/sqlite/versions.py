"""Hard deletes in SQLite: remembers the version of every key, so that an older upsert brings no deleted row back.

Record by record, in the order of each key. Knows no Kafka and no cursors.
"""

import sqlite3
from decimal import Decimal
from typing import Any

import orjson

from ingestd.batch import Counts, DeadLetter, Outcome, dead_letter
from ingestd.config import options as cfg
from ingestd.config.topics import memory_name
from ingestd.sinks.sqlite.encode import Kind, SqliteBatch, unstorable_letter
from ingestd.sinks.sqlite.table_sql import TableSql
from ingestd.stores.faults import RecordsRefused
from ingestd.stores.sqlite.errors import row_sqlstate
from ingestd.stores.store import Transaction

_CREATE = """
CREATE TABLE IF NOT EXISTS ingestd_versions (
    pipeline   TEXT NOT NULL,
    key        TEXT NOT NULL,
    version    TEXT,
    partition  INTEGER NOT NULL,
    "offset"   INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    changed_at TEXT NOT NULL,
    PRIMARY KEY (pipeline, key)
) WITHOUT ROWID
"""
_FIND = 'SELECT version, partition, "offset" FROM ingestd_versions WHERE pipeline = ? AND key = ?'
_REMEMBER = """
INSERT INTO ingestd_versions (pipeline, key, version, partition, "offset", deleted, changed_at)
VALUES (?, ?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
ON CONFLICT (pipeline, key) DO UPDATE
SET version = excluded.version, partition = excluded.partition, "offset" = excluded."offset",
    deleted = excluded.deleted, changed_at = excluded.changed_at
"""


class SqliteVersions:
    """The table sink's way of writing when deletes are hard."""

    def __init__(self, pipeline: cfg.Pipeline, sql: TableSql):
        self._pipeline = pipeline
        self._sql = sql
        self._key_places = [sql.columns.index(name) for name in pipeline.table.key]
        types = {column.name: column.type for column in pipeline.column}
        self._numeric = [types[name].startswith(("numeric", "decimal")) for name in sql.version or ()]

    def attach(self, connection: sqlite3.Connection) -> None:
        """Make the table of versions."""
        connection.execute(_CREATE)

    def write(self, batch: SqliteBatch, kinds: list[Kind], kind_of: Any, tx: Transaction) -> Outcome:
        """What became of the rows, one after the other."""
        counts, dead = Counts(), []
        cursor: sqlite3.Cursor = tx.cursor
        for n in range(batch.count):
            kind = kinds[0 if kind_of is None else int(kind_of[n])]
            if n in batch.unstorable:
                dead.append(unstorable_letter(batch, n))
                continue
            # What the error leaves behind: the key's version must go with the refused row.
            cursor.execute("SAVEPOINT ingestd")
            try:
                fate = self._write_row(batch, n, kind, cursor)
            except sqlite3.Error as error:
                letter = _refused(batch, n, error)
                if not cursor.connection.in_transaction:
                    raise RecordsRefused([letter]) from error
                cursor.execute("ROLLBACK TO ingestd")
                dead.append(letter)
            else:
                setattr(counts, fate, getattr(counts, fate) + 1)
            cursor.execute("RELEASE ingestd")
        return Outcome(counts, dead)

    def _write_row(self, batch: SqliteBatch, n: int, kind: Kind, cursor: sqlite3.Cursor) -> str:
        """The name of the count that the row belongs to."""
        values, version = batch.row(n), batch.versions[n] if batch.versions else ()
        key = [values[place] for place in self._key_places]
        named = (memory_name(self._pipeline), orjson.dumps(key, default=bytes.hex).decode())
        stored = cursor.execute(_FIND, named).fetchone()
        record = batch.record(n)
        place = (record.partition(), record.offset(), kind.deletes)
        if stored is not None:
            # Of equals the later of one partition wins, also when both were committed before.
            settles = not kind.replayed or (place[0] == stored[1] and place[1] > stored[2])
            if not self._is_newer(version, orjson.loads(stored[0]), settles):
                return "stale"
        cursor.execute(_REMEMBER, (*named, orjson.dumps(list(version), default=bytes.hex).decode(), *place))
        if kind.deletes:
            cursor.execute(self._sql.delete(), key)
            return "deleted"
        there = cursor.execute(self._sql.existing(1), key).fetchone()[0]
        # A row that was there before its version was remembered keeps what is newer.
        make = self._sql.update(kind, stored is None) if there else self._sql.insert(kind, 1, stored is None)
        changed = cursor.execute(make, values).rowcount
        return "stale" if not changed else "updated" if there else "inserted"

    def _is_newer(self, version: Any, stored: Any, settles: bool) -> bool:
        """`settles` says which of equal versions is later."""
        for number, new, old in zip(self._numeric, version, stored, strict=True):
            if isinstance(new, bytes):
                new = new.hex()
            if new == old or (number and new is not None and old is not None and Decimal(new) == Decimal(old)):
                continue
            if new is None or old is None:
                return old is None
            return bool(Decimal(new) > Decimal(old) if number else new > old)
        return settles


def _refused(batch: SqliteBatch, n: int, error: sqlite3.Error) -> DeadLetter:
    """Raises: the error again when it is not about the row."""
    sqlstate = row_sqlstate(error)
    if sqlstate is None:
        raise error
    return dead_letter(batch.record(n), "write", None, " ".join(str(error).split()), sqlstate)
