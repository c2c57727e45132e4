"""The SQLite store: connection, claim, and the one transaction that commits rows and cursor together.

Knows nothing of Kafka, and nothing of what a sink writes into its transaction. The file has one writer at a time: a
lease is ended by the supervisor, which kills a stopped worker, and by the epoch, which no other worker's commit has.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from ingestd.batch import Counts, DeadLetter, Tile
from ingestd.config import options as cfg
from ingestd.config.store_url import sqlite_lock_path, sqlite_path
from ingestd.errors import Halt, LeaseLost, Retryable
from ingestd.stores.commits import committing, deciding, moved_values, require_moved
from ingestd.stores.faults import RowFault, RowsRefused
from ingestd.stores.sqlite.dead_letters import write_dead_letters
from ingestd.stores.sqlite.errors import decide
from ingestd.stores.sqlite.file import (
    LONGEST_WAIT_SECS,
    SQL,
    begin,
    connect,
    file_identity,
    finish_ranges,
    make_ledger,
    make_writable,
)
from ingestd.stores.sqlite.turns import Turns
from ingestd.stores.store import Claimed, FirstOffsets, LedgerKey, Transaction

_SYNCHRONOUS = {"on": "FULL", "off": "NORMAL"}


def process_start(pid: int) -> str | None:
    """When the process began, in clock ticks since boot; None when there is no such process (any more)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


class SqliteStore:
    """Ledger and transactions of one worker; see `ingestd.stores.store.Store`."""

    def __init__(self, options: cfg.Store, key: LedgerKey):
        self._options = options
        self._key = key
        self._path = sqlite_path(options.url)
        self._turns = Turns(sqlite_lock_path(self._path))
        self._connection: sqlite3.Connection | None = None
        self._claimant: sqlite3.Connection | None = None
        """The connection that claimed; no other may commit."""
        started = f"{process_start(os.getpid())}.{secrets.token_hex(4)}"
        self._holder = {"backend_pid": os.getpid(), "backend_start": started}
        self._mode = "rwc"
        self._file: tuple[int, int] | None = None
        """Device and inode of the open file."""
        self._first_seen: dict[int, int] = {}
        """Epochs when this worker began: stopped in its first claim, it must not take the next owner's lease."""
        self._replay_below: dict[int, int] = {}

    def open(self) -> sqlite3.Connection:
        """The connection, made when there is none, with the session as the protocol needs it."""
        if self._connection is not None:
            return self._connection
        with self.deciding():
            wait_secs = min(float(self._options.lock_timeout), LONGEST_WAIT_SECS)
            self._connection = connect(self._path, wait_secs, self._mode)
            make_writable(self._connection, self._path, _SYNCHRONOUS[self._options.synchronous_commit])
        # From now on a file that is gone is not made anew without a word.
        self._mode = "rw"
        self._file = file_identity(self._path)
        return self._connection

    def close(self) -> None:
        """Drop the connection; an open transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # While a cursor of it is alive (in a traceback, say), SQLite keeps a closed connection with its locks.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        connection.close()

    def prepare(self) -> None:
        """Create what the ledger lacks, also of one that an older version made."""
        connection = self.open()
        with self.deciding():
            make_ledger(connection)

    def claim(
        self, partitions: Sequence[int], first_offsets: FirstOffsets, held: dict[int, int] | None = None
    ) -> list[Claimed]:
        """The lease on `partitions`; see `Store.claim`. The first offsets are asked for before the lock is taken."""
        connection = self.open()
        with self.deciding():
            known = {row[0]: row[1] for row in connection.execute(SQL["known_partitions"], self._key.params())}
            for partition in partitions:
                self._first_seen.setdefault(partition, known.get(partition, 0))
            new = sorted(set(partitions) - known.keys())
            first = first_offsets(new, not known) if new else {}
            cursor = begin(connection)
            for partition, (offset, topic_id) in sorted(first.items()):
                values = self._key.params(partition=partition, next_offset=offset, topic_id=topic_id)
                cursor.execute(SQL["first_cursor"], values)
            self._still_ours(cursor, partitions, self._first_seen | (held or {}))
            rows = [row for partition in sorted(partitions) for row in self._raise_epoch(cursor, partition)]
            if missing := sorted(set(partitions) - {row[0] for row in rows}):
                raise Retryable(
                    f"{self._key.topic}: no cursor for partitions {missing}; the topic does not have them yet"
                )
            finish_ranges(cursor, self._key, [row[0] for row in rows if row[5]], "unknown move")
            cursor.execute("COMMIT")
        self._claimant = connection
        self._replay_below = {row[0]: row[4] for row in rows}
        return [Claimed(row[0], row[1], row[2], row[3] or "", row[4]) for row in rows]

    def _require_in_place(self) -> None:
        """With a write-ahead log SQLite never looks: it writes on into a file that has no name any more."""
        if file_identity(self._path) != self._file:
            mend = "put it back, or restore a backup while the daemon is stopped, then reload (HUP)"
            raise Halt(f"SQLite file {self._path}: it was removed or replaced while it was open; {mend}")

    def _raise_epoch(self, cursor: sqlite3.Cursor, partition: int) -> list[Any]:
        return cursor.execute(SQL["claim"], self._key.params(partition=partition, **self._holder)).fetchall()

    def _still_ours(self, cursor: sqlite3.Cursor, partitions: Sequence[int], held: dict[int, int]) -> None:
        """Our own claim whose COMMIT seemed to fail is ours."""
        mine = tuple(self._holder.values())
        for partition, epoch, *holder in cursor.execute(SQL["known_partitions"], self._key.params()).fetchall():
            if partition in partitions and held.get(partition, epoch) != epoch and tuple(holder) != mine:
                raise LeaseLost(f"{self._key.topic}-{partition}: claimed by another worker (epoch {epoch})")

    @contextmanager
    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
        """A transaction that commits what the body wrote and moves the cursors over `tiles`, or nothing."""
        connection = self.open()
        if connection is not self._claimant:
            raise Retryable(f"SQLite file {self._path}: the session that claimed is gone")
        with self._turns.turn(), self.deciding() as phase:
            tx = Transaction(begin(connection), {tile.partition: Counts() for tile in tiles}, self._replay_below)

            def commit() -> None:
                phase.append("commit")
                self._require_in_place()
                tx.cursor.execute("COMMIT")

            with committing(tx, tiles, lambda tile: self._move(tx, tile, epochs[tile.partition]), commit):
                yield tx

    def _move(self, tx: Transaction, tile: Tile, epoch: int) -> None:
        tx.cursor.execute(SQL["move_cursor"], moved_values(self._key, tx, tile, epoch))
        require_moved(tx.cursor.rowcount, self._key, tile, epoch)

    @contextmanager
    def side_transaction(self, keep: bool = True) -> Iterator[Transaction]:
        """A transaction that moves no cursor and needs no claim; without `keep` it is rolled back at its end."""
        connection = self.open()
        with self._turns.turn(), self.deciding() as phase:
            cursor = begin(connection)
            yield Transaction(cursor, {}, dict(cursor.execute(SQL["replay_below"], self._key.params()).fetchall()))
            phase.append("commit")
            if keep:
                self._require_in_place()
                cursor.execute("COMMIT")
                return
            broken = cursor.execute("PRAGMA foreign_key_check").fetchone()
            if broken is not None:
                raise RowsRefused(RowFault("23503", f"FOREIGN KEY constraint failed in {broken[0]}", True))
            cursor.execute("ROLLBACK")

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Write `letters` in `tx`, and count in `tx.dead_again` those that replace one."""
        write_dead_letters(letters, tx, self._key, topic_ids)

    def deciding(self) -> AbstractContextManager[list[str]]:
        """Turns database errors into decisions and leaves no transaction open behind any error."""
        return deciding(sqlite3.Error, lambda error, at_commit: decide(error, self._path, at_commit), self._roll_back)

    def _roll_back(self, keep: bool) -> None:
        if not keep or self._connection is None:
            self.close()
            return
        try:
            if self._connection.in_transaction:  # some errors have ended it already
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()
