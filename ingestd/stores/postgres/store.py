"""The PostgreSQL store: connection, claim, and the one transaction that commits rows and cursor together.

Knows nothing of Kafka, and nothing of what a sink writes into its transaction.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import conninfo_to_dict

from ingestd.batch import Counts, DeadLetter, Tile
from ingestd.config import options as cfg
from ingestd.errors import LeaseLost, Retryable
from ingestd.stores.commits import committing, deciding, moved_values, require_moved
from ingestd.stores.postgres.dead_letters import write_dead_letters
from ingestd.stores.postgres.errors import connect_error, decide
from ingestd.stores.postgres.ledger import finish_ranges, make_ledger
from ingestd.stores.postgres.statements import LETTERS, SQL
from ingestd.stores.store import Claimed, FirstOffsets, LedgerKey, Transaction

_CLAIM_LOCK_TIMEOUT = "2s"


def place(url: str) -> str:
    """host:port/database of a connection URL, without login, for messages."""
    parts = conninfo_to_dict(url)
    host = parts.get("host") or urlsplit(url).hostname or "local socket"
    return f"{host}:{parts.get('port') or 5432}/{parts.get('dbname') or parts.get('user') or ''}"


def connect(url: str, application_name: str) -> psycopg.Connection[Any]:
    """A connection in READ COMMITTED that notices a dead peer within about 30 s.

    Raises: Halt when the login is refused, Retryable when the server cannot be reached.
    """
    try:
        connection = psycopg.connect(
            url,
            application_name=application_name[:63],
            client_encoding="UTF8",
            connect_timeout=10,
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
        # psycopg reads no times in another style, which a database or a role may have as its default.
        connection.execute("SELECT set_config('DateStyle', 'ISO', false)")
        connection.commit()
    except psycopg.Error as error:
        raise connect_error(error, place(url)) from error
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    return connection


class PostgresStore:
    """Ledger and transactions of one worker: one connection, N partitions, one transaction with N cursor moves.

    Every method raises the decision: Retryable (close, wait, claim again), LeaseLost (exit), Halt, and, from
    `transaction`, RowsRefused (redo the batch in the next way).
    """

    def __init__(self, options: cfg.Store, key: LedgerKey):
        self._options = options
        self._key = key
        self._connection: psycopg.Connection[Any] | None = None
        self._claimant: psycopg.Connection[Any] | None = None
        """The session that claimed, and that the next claim will end; no other may commit."""
        self._own_sessions: set[tuple[int, Any]] = set()
        """Sessions in which a claim was tried since the last one that is known to hold."""
        self._first_seen: dict[int, int] = {}
        """Epochs when this worker began: stopped in its first claim, it must not take the next owner's lease."""
        self._replay_below: dict[int, int] = {}
        self._where = place(str.__str__(options.url))

    def open(self) -> psycopg.Connection[Any]:
        """The connection, made when there is none, with the session as the protocol needs it."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        connection = connect(str.__str__(self._options.url), f"ingestd {self._key.pipeline}")
        with self.deciding(), connection.cursor() as cursor:
            settings = {
                "TimeZone": "UTC",  # staged timestamp[] becomes timestamptz[] by it
                "synchronous_commit": self._options.synchronous_commit,
                "lock_timeout": f"{int(self._options.lock_timeout * 1000)}ms",
                "statement_timeout": "0",  # a role's default would cut a large COPY again and again
                "idle_in_transaction_session_timeout": "0",
                "jit": "off",  # staging has no statistics: a wrong guess costs 100 ms of compiling a batch
                "temp_buffers": "32MB",
            }
            for name, value in settings.items():
                cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
            connection.commit()
        self._connection = connection
        return connection

    def close(self) -> None:
        """Drop the connection; an open transaction is rolled back by the server."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def prepare(self) -> None:
        """Create what the ledger lacks, also of one that an older version made. Raises: Halt without the privilege."""
        connection = self.open()
        with self.deciding(), connection.cursor() as cursor:
            make_ledger(cursor, self._where)
            connection.commit()

    def claim(
        self,
        partitions: Sequence[int],
        first_offsets: FirstOffsets,
        held: dict[int, int] | None = None,
    ) -> list[Claimed]:
        """The lease on `partitions`: epochs raised, the previous holder's session ended.

        `first_offsets(new, first_run)` gives (offset, topic id) of partitions that the ledger has never seen; on the
        first run of all it may name every partition of the topic, so that they are pinned at one moment.
        `held` are the epochs of the lease that is being renewed after a fault.
        Raises: LeaseLost when another worker has claimed since `held`, or since the first try; Retryable when a
        partition has no first offset.
        """
        connection = self.open()
        wanted = self._key.params(partitions=list(partitions))
        with self.deciding(), connection.cursor() as cursor:
            self._own_sessions.update(cursor.execute(SQL["own_session"]).fetchall())
            known = dict(cursor.execute(SQL["known_partitions"], wanted).fetchall())
            connection.commit()
            for partition in partitions:
                self._first_seen.setdefault(partition, known.get(partition, 0))
            if new := sorted(set(partitions) - known.keys()):
                for partition, (offset, topic_id) in sorted(first_offsets(new, not known).items()):
                    values = self._key.params(partition=partition, next_offset=offset, topic_id=topic_id)
                    cursor.execute(SQL["first_cursor"], values)
                connection.commit()
            rows = self._raise_epochs(cursor, wanted, self._first_seen | (held or {}))
            if missing := sorted(set(partitions) - {row[0] for row in rows}):
                raise Retryable(
                    f"{self._key.topic}: no cursor for partitions {missing}; the topic does not have them yet"
                )
            connection.commit()
            for previous in {row[5:7] for row in rows if row[5] is not None}:
                self._terminate(cursor, *previous)
            self._own_sessions = set(cursor.execute(SQL["own_session"]).fetchall())
            connection.commit()
        self._claimant = connection
        self._replay_below = {row[0]: row[7] for row in rows}
        return [Claimed(row[0], row[1], row[2], row[3] or "", row[7]) for row in sorted(rows)]

    def _raise_epochs(self, cursor: psycopg.Cursor[Any], wanted: dict[str, Any], held: dict[int, int]) -> list[Any]:
        """The claimed rows; a zombie that stopped between its cursor update and COMMIT is ended first."""
        for attempt in (1, 2):
            try:
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", (_CLAIM_LOCK_TIMEOUT,))
                rows = cursor.execute(SQL["claim"], wanted).fetchall()
                self._still_ours([(row[0], *row[4:7]) for row in rows], held)
                if moved := [row[0] for row in rows if row[8]]:
                    finish_ranges(cursor, self._key, moved, "unknown move")
                return rows
            except psycopg.errors.LockNotAvailable:
                self.open().rollback()
                if attempt == 2:
                    raise
                rows = cursor.execute(SQL["read_cursors"], wanted).fetchall()
                self._still_ours([(row[0], *row[2:5]) for row in rows], held)  # or a zombie would end the new owner
                for row in rows:
                    if row[3] is not None:
                        self._terminate(cursor, row[3], row[4])
        raise AssertionError("unreachable")

    def _terminate(self, cursor: psycopg.Cursor[Any], pid: int, start: Any) -> None:
        cursor.execute(SQL["terminate"], {"pid": pid, "start": start})
        self.open().commit()

    def _still_ours(self, rows: list[Any], held: dict[int, int]) -> None:
        """`rows` are (partition, epoch, pid, start) of the holders. Our own claim whose answer was lost is ours."""
        for partition, epoch, *session in rows:
            if held.get(partition, epoch) != epoch and tuple(session) not in self._own_sessions:
                raise LeaseLost(f"{self._key.topic}-{partition}: claimed by another worker (epoch {epoch})")

    @contextmanager
    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
        """A transaction that commits what the body wrote and moves the cursors, or nothing. READ COMMITTED."""
        connection = self.open()
        if connection is not self._claimant:
            raise Retryable(f"PostgreSQL at {self._where}: the session that claimed is gone")
        with self.deciding() as phase, connection.cursor() as cursor:
            tx = Transaction(cursor, {tile.partition: Counts() for tile in tiles}, self._replay_below)

            def commit() -> None:
                phase.append("commit")
                connection.commit()

            with committing(tx, tiles, lambda tile: self._move(tx, tile, epochs[tile.partition]), commit):
                yield tx

    def _move(self, tx: Transaction, tile: Tile, epoch: int) -> None:
        tx.cursor.execute(SQL["move_cursor"], moved_values(self._key, tx, tile, epoch), prepare=True)
        require_moved(tx.cursor.rowcount, self._key, tile, epoch)

    @contextmanager
    def side_transaction(self, keep: bool = True) -> Iterator[Transaction]:
        """A transaction that moves no cursor and needs no claim; without `keep` it is rolled back at its end."""
        connection = self.open()
        with self.deciding() as phase, connection.cursor() as cursor:
            yield Transaction(cursor, {}, dict(cursor.execute(LETTERS["side_cursors"], self._key.params()).fetchall()))
            phase.append("commit")
            if keep:
                connection.commit()
            else:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                connection.rollback()

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Write `letters` in `tx`, in one statement for each topic id."""
        write_dead_letters(letters, tx, self._key, topic_ids)

    def deciding(self) -> AbstractContextManager[list[str]]:
        """Turns database errors into decisions and leaves no transaction open behind any error."""
        return deciding(psycopg.Error, lambda error, at_commit: decide(error, self._where, at_commit), self._roll_back)

    def _roll_back(self, keep: bool) -> None:
        if not keep or self._connection is None:
            self.close()
            return
        try:
            self._connection.rollback()
        except psycopg.Error:
            self.close()
