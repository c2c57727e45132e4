"""The table sink of an SQLite file: rows in blocks, a refused block row by row. Knows no Kafka and no cursors.

There is one writer, so no row is staged and no batch folded: statements run in the order of the records of each key.
"""

import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from ingestd.batch import Counts, DeadLetter, Outcome, Rows, dead_letter
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.rows import below
from ingestd.sinks.ladder import Way
from ingestd.sinks.sqlite.encode import Kind, SqliteBatch, SqliteEncoder, runs, unstorable_letter
from ingestd.sinks.sqlite.table_sql import NUMERIC_COLLATION, TableSql
from ingestd.sinks.sqlite.versions import SqliteVersions
from ingestd.stores.faults import RecordsRefused
from ingestd.stores.sqlite.errors import row_sqlstate
from ingestd.stores.sqlite.file import begin
from ingestd.stores.sqlite.table_check import check_table, create_table, find_columns
from ingestd.stores.store import Transaction

_BLOCK_ROWS = 64
"""Rows of one statement: with 1 a row costs 4.9 us, with 10 or more 4.0 to 4.1. The driver lets other threads run
during each statement, and may wait a millisecond until it is let in again."""


class SqliteTableSink:
    """Writes batches; `attach` once per connection, then `write` inside its transactions."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._encoder = SqliteEncoder(pipeline)
        self._sql = TableSql(pipeline)
        delete = pipeline.table.delete
        self._versions = SqliteVersions(pipeline, self._sql) if delete and delete.how == "hard" else None
        self._connection: sqlite3.Connection | None = None
        self._block_rows = _BLOCK_ROWS
        self._keys_are_new = True
        """Whether the last rows of an upsert all were new: then the next may be, too."""

    def attach(self, connection: sqlite3.Connection) -> None:
        """Make or verify the table. Commits. Raises: Halt naming every misfit with the DDL that mends it."""
        if connection is self._connection:
            return
        connection.create_collation(NUMERIC_COLLATION, _compare_numbers)
        if self._pipeline.table.create and not find_columns(connection, self._pipeline.table.name):
            self._create(connection)
        problems = check_table(connection, self._pipeline)
        if problems:
            said = "; ".join(f"{p.message}: {p.ddl}" if p.ddl else p.message for p in problems)
            raise Halt(f"table {self._pipeline.table.name} does not fit pipeline {self._pipeline.name}: {said}")
        if self._versions is not None:
            self._versions.attach(connection)
        width = max(1, len(self._pipeline.column))
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        self._block_rows = max(1, min(_BLOCK_ROWS, limit // width))
        self._connection = connection

    def _create(self, connection: sqlite3.Connection) -> None:
        table = self._pipeline.table
        text = Path(table.ddl).read_text() if table.ddl else create_table(self._pipeline) + ";"
        begin(connection)
        if not find_columns(connection, table.name):  # another worker may have been first
            for statement in split_statements(text):
                connection.execute(statement)
        connection.execute("COMMIT")

    def ways(self) -> tuple[Way, ...]:
        """In blocks; row by row, when a block has ended its transaction (RAISE(ROLLBACK) in a trigger)."""
        return (Way.DIRECT, Way.LOOPED)

    def prepare(self, rows: Rows) -> SqliteBatch:
        """`rows` sorted by key and converted; no database."""
        return self._encoder.encode(rows)

    def write(self, batch: SqliteBatch, tx: Transaction, way: Way) -> Outcome:
        """What became of the rows of `batch`; nothing is visible unless `tx` commits.

        Raises: RecordsRefused when a refused row has ended the transaction.
        """
        assert self._connection is not None, "attach() comes first"
        kinds, kind_of = batch.kinds, batch.kind_of
        if self._pipeline.table.mode == "upsert":
            kinds, kind_of = with_replayed(batch, tx)
        if self._versions is not None:
            return self._versions.write(batch, kinds, kind_of, tx)
        block = _Block(tx.cursor, self._connection, self._sql, batch, self._pipeline.table, self._keys_are_new)
        won = False
        for start, end, number in runs(kind_of, batch.count):
            if kinds[number].replayed and any(batch.repeats[start : end + 1]):
                won = block.write_in_turn(start, end, kinds[number], won)
                continue
            step = self._block_rows if way is Way.DIRECT else 1
            for at in range(start, end, step):
                block.write(at, min(step, end - at), kinds[number])
        self._keys_are_new = block.keys_are_new
        return Outcome(block.counts, block.dead)


class _Block:
    """Writes blocks of one batch and adds up what became of them."""

    def __init__(
        self,
        cursor: sqlite3.Cursor,
        connection: sqlite3.Connection,
        sql: TableSql,
        batch: SqliteBatch,
        table: cfg.Table,
        keys_are_new: bool,
    ):
        self.keys_are_new = keys_are_new
        self._cursor = cursor
        self._connection = connection
        self._sql = sql
        self._batch = batch
        self._table = table
        self._key_places = [sql.columns.index(name) for name in table.key]
        self.counts = Counts()
        self.dead: list[DeadLetter] = []

    def write(self, at: int, count: int, kind: Kind) -> None:
        """`count` rows from `at` on: all at once, or without those that are refused."""
        bad = [n for n in self._batch.unstorable if at <= n < at + count]
        if count == 1 and bad:
            self.dead.append(unstorable_letter(self._batch, at))
            return
        error = None
        if not bad:
            error = self._try(at, count, kind)
            if error is None:
                return
        if count > 1:
            for n in range(at, at + count):
                self.write(n, 1, kind)
        elif error is not None and not (kind.kept and self._update(at, kind, error)):
            self.dead.append(self._refused(at, error))

    def write_in_turn(self, start: int, end: int, kind: Kind, won: bool) -> bool:
        """Replayed rows one by one; `won` tells, before and after, whether the last one was written.

        A row is later than one of its key that this same batch has written, as it would have been without a replay.
        """
        for n in range(start, end):
            later = won and self._batch.repeats[n]
            before = self._written
            self.write(n, 1, Kind(kind.deletes, not later, kind.kept))
            won = later or self._written > before
        return won

    @property
    def _written(self) -> int:
        return self.counts.inserted + self.counts.updated + self.counts.deleted

    def _update(self, at: int, kind: Kind, refused: sqlite3.Error) -> bool:
        """Whether a record that lacks what a new row needs is settled: its row is there, or there is none to delete."""
        if row_sqlstate(refused) != "23502":
            return False
        values = self._batch.row(at)
        key = [values[place] for place in self._key_places]
        there = self._cursor.execute(self._sql.existing(1), key).fetchone()[0]
        if not there:
            self.counts.deleted += kind.deletes
            return kind.deletes
        error = self._try(at, 1, kind, self._sql.update(kind))
        if error is not None:
            self.dead.append(self._refused(at, error))
        return True

    def _try(self, at: int, count: int, kind: Kind, statement: str = "") -> sqlite3.Error | None:
        """Count the rows when they went in; the error, with nothing left behind, when one of them is refused."""
        cursor = self._cursor
        # A statement that fails may leave its first rows behind (RAISE(FAIL), a constraint ON CONFLICT FAIL).
        cursor.execute("SAVEPOINT ingestd")
        try:
            if not statement and self._add(at, count, kind):
                cursor.execute("RELEASE ingestd")
                self.counts.inserted += count
                return None
            new = self._new_keys(at, count) if self._table.mode == "upsert" else 0
            changed = cursor.execute(statement or self._sql.insert(kind, count), self._batch.row(at, count)).rowcount
        except sqlite3.Error as error:
            if row_sqlstate(error) is None:
                raise
            if not self._connection.in_transaction:
                if count > 1:
                    raise
                raise RecordsRefused([self._refused(at, error)]) from error
            cursor.execute("ROLLBACK TO ingestd")
            cursor.execute("RELEASE ingestd")
            return error
        cursor.execute("RELEASE ingestd")
        self.keys_are_new = new == count
        self._count(count, changed, new, kind)
        return None

    def _add(self, at: int, count: int, kind: Kind) -> bool:
        """Whether an upsert could insert all rows: then nobody must ask which keys are there. Else none was."""
        if self._table.mode != "upsert" or not self.keys_are_new:
            return False
        try:
            added = self._cursor.execute(self._sql.add(kind, count), self._batch.row(at, count)).rowcount
        except sqlite3.IntegrityError:
            if not self._connection.in_transaction:
                raise
            added = 0
        if added != count:
            self._cursor.execute("ROLLBACK TO ingestd")
        return added == count

    def _new_keys(self, at: int, count: int) -> int:
        """How many rows this block will add: its keys without those that are there."""
        batch, starts = self._batch, range(at, at + count)
        width, values = batch.width, batch.values
        distinct = [n for n in starts if n == at or not batch.repeats[n]]
        keys = [values[n * width + place] for n in distinct for place in self._key_places]
        found = self._cursor.execute(self._sql.existing(len(distinct)), keys).fetchone()
        return len(distinct) - int(found[0])

    def _count(self, count: int, changed: int, new: int, kind: Kind) -> None:
        counts = self.counts
        if self._table.mode != "upsert":
            counts.inserted += changed
            counts.duplicates += count - changed
        elif kind.deletes:
            counts.inserted += new
            counts.deleted += changed - new
            counts.stale += count - changed
        else:
            counts.inserted += new
            counts.updated += changed - new
            counts.stale += count - changed

    def _refused(self, n: int, error: sqlite3.Error) -> DeadLetter:
        return dead_letter(self._batch.record(n), "write", None, " ".join(str(error).split()), row_sqlstate(error))


def with_replayed(batch: SqliteBatch, tx: Transaction) -> tuple[list[Kind], Any]:
    """The batch's kinds, told apart by whether a row was committed once already."""
    if all(tile.start >= tx.replay_below.get(tile.partition, 0) for tile in batch.rows.tiles):
        return batch.kinds, batch.kind_of
    replayed = below(*batch.places(), tx.replay_below).astype(np.int64)
    kind_of = np.zeros(batch.count, np.int64) if batch.kind_of is None else batch.kind_of
    kinds = batch.kinds + [Kind(kind.deletes, True, kind.kept) for kind in batch.kinds]
    return kinds, kind_of + replayed * len(batch.kinds)


def split_statements(text: str) -> list[str]:
    """The statements of an SQL file."""
    statements, rest = [], ""
    for line in text.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            statements.append(rest)
            rest = ""
    return [*statements, rest] if rest.strip() else statements


def _compare_numbers(left: str, right: str) -> int:
    one, other = Decimal(left), Decimal(right)
    return (one > other) - (one < other)
