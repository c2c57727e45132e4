"""Records written into the real table by the real sink, and rolled back: what would become of them. Knows no Kafka."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import sql

from ingestd.batch import Counts, DeadLetter, Rows, Tile
from ingestd.config import options as cfg
from ingestd.errors import IngestdError, LeaseLost
from ingestd.sinks.ladder import Way
from ingestd.sinks.open import open_sink
from ingestd.stores.postgres.errors import connect_error, decide
from ingestd.stores.postgres.ledger import make_ledger
from ingestd.stores.postgres.statements import LETTERS, SQL
from ingestd.stores.postgres.store import place
from ingestd.stores.store import Claimed, FirstOffsets, LedgerKey, Store, Transaction
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Writer

LOCK_TIMEOUT = "2s"
LONGEST_STATEMENT = "10s"
LONGEST_PAUSE = "10s"
_NO_LIMIT = cfg.DeadLetters(max_ratio=1.0, max_run=2**31)


class Outcome(Struct):
    """What would become of the records, by partition, and those that would be dead letters."""

    counts: dict[int, Counts]
    dead: list[DeadLetter]

    def add(self, counts: dict[int, Counts], dead: Sequence[DeadLetter]) -> None:
        """What one more transaction did."""
        self.dead += dead
        for partition, more in counts.items():
            total = self.counts.setdefault(partition, Counts())
            for name in more.__struct_fields__:
                setattr(total, name, getattr(total, name) + getattr(more, name))


class _Unkept(psycopg.Connection[Any]):
    """A connection of one transaction: what is done in it cannot be committed, by whomever."""

    def commit(self) -> None:
        """Nothing: whoever makes tables commits them, and here they go with the rest."""

    def rollback(self) -> None:
        """Nothing either: TrialStore goes back to its savepoints, `close` to the beginning."""


class TrialStore:
    """A store that keeps nothing: each transaction is a savepoint in one that ends with the connection."""

    def __init__(self, options: cfg.Store, key: LedgerKey):
        url = str.__str__(options.url)
        self._where = place(url)
        self._key = key
        self.outcome = Outcome({}, [])
        self._dead: list[DeadLetter] = []
        try:
            self._connection = _Unkept.connect(url, connect_timeout=10, application_name="ingestd check")
        except psycopg.Error as error:
            raise connect_error(error, self._where) from error

    def prepare(self) -> None:
        """The session's limits: no lock is waited for, or held, for long."""
        with self.deciding():
            for name, value in (
                ("TimeZone", "UTC"),
                ("lock_timeout", LOCK_TIMEOUT),
                ("statement_timeout", LONGEST_STATEMENT),
                ("idle_in_transaction_session_timeout", LONGEST_PAUSE),
            ):
                self._connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            with self._connection.cursor() as cursor:
                if not self._has_ledger(cursor):  # its schema holds the memory of deletes
                    make_ledger(cursor, self._where)

    def open(self) -> psycopg.Connection[Any]:
        return self._connection

    def close(self) -> None:
        self._connection.close()

    def claim(
        self, partitions: Sequence[int], first_offsets: FirstOffsets, held: dict[int, int] | None = None
    ) -> list[Claimed]:
        """Never: a trial works beside the workers."""
        raise LeaseLost("a trial holds no lease")

    @contextmanager
    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
        """What the body writes stays visible to the next transaction of this store, and to nobody else."""
        at_commit = False
        self._dead = []
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SAVEPOINT ingestd_trial")
                tx = Transaction(
                    cursor, {tile.partition: Counts() for tile in tiles}, self._replay_below(cursor, tiles)
                )
                yield tx
                at_commit = True
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute("SET CONSTRAINTS ALL DEFERRED")
                _empty_staging(cursor)
                cursor.execute("RELEASE SAVEPOINT ingestd_trial")
        except psycopg.Error as error:
            self._undo()
            raise decide(error, self._where, at_commit) from error
        except IngestdError:
            self._undo()
            raise
        self.outcome.add(tx.counts, self._dead)

    def side_transaction(self, keep: bool = True) -> AbstractContextManager[Transaction]:
        return self.transaction([], {})

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Keeps them to be shown; the table of dead letters is not touched."""
        self._dead += letters

    @contextmanager
    def deciding(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise decide(error, self._where) from error

    def _undo(self) -> None:
        if not self._connection.closed and not self._connection.broken:
            self._connection.execute("ROLLBACK TO SAVEPOINT ingestd_trial")

    def _replay_below(self, cursor: psycopg.Cursor[Any], tiles: Sequence[Tile]) -> dict[int, int]:
        known = cursor.execute(LETTERS["side_cursors"], self._key.params()).fetchall()
        return {tile.partition: 0 for tile in tiles} | dict(known)

    def _has_ledger(self, cursor: psycopg.Cursor[Any]) -> bool:
        found = cursor.execute(SQL["schema_exists"]).fetchone()
        return bool(found and found[0])


def _empty_staging(cursor: psycopg.Cursor[Any]) -> None:
    """What ON COMMIT DELETE ROWS would do: the next batch finds staging empty."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'"
    for (name,) in cursor.execute(query).fetchall():
        cursor.execute(sql.SQL("TRUNCATE pg_temp.{}").format(sql.Identifier(name)))


class _Nobody:
    """Where the worker's board would be."""

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None:
        return None


def try_rows(options: cfg.Store, pipeline: cfg.Pipeline, rows: Rows) -> Outcome:
    """What would become of `rows` in PostgreSQL; tables that would be made are made, and gone with the rest.

    Takes row locks on the keys of `rows` for as long as it writes. Raises: Retryable (a lock that a worker holds, a
    server that is away), Halt (the table does not fit).
    """
    key = LedgerKey(pipeline.name, pipeline.topic)
    with closing(TrialStore(options, key)) as store:
        store.prepare()
        write_as_worker(store, options, pipeline, rows)
        return store.outcome


def write_as_worker(store: Store, options: cfg.Store, pipeline: cfg.Pipeline, rows: Rows) -> None:
    """Write `rows` by the worker's writer and sink, however many of them are refused."""
    key = LedgerKey(pipeline.name, pipeline.topic)
    sink = open_sink(options, pipeline)
    writer = Writer(store, sink, key, lambda p: DeadLetterLimit(_NO_LIMIT, key.pipeline, f"{p}"), _Nobody())
    writer.topic_ids = {tile.partition: "" for tile in rows.tiles}
    writer.commit(writer.prepare([rows]))
