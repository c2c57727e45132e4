"""Records written into a copy of an SQLite file by the real sink: what would become of them. Knows no Kafka.

The file has one writer at a time, and that may be the daemon: it is copied, not locked.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import structs

from ingestd.batch import DeadLetter, Rows, Tile
from ingestd.config import options as cfg
from ingestd.config.store_url import sqlite_path
from ingestd.errors import LeaseLost
from ingestd.sampling.trial import Outcome, write_as_worker
from ingestd.stores.sqlite.file import connect
from ingestd.stores.sqlite.store import SqliteStore
from ingestd.stores.store import Claimed, FirstOffsets, LedgerKey, Transaction

LARGEST_COPY_BYTES = 1 << 30


class CopyStore:
    """The store of the copy: its transactions move no cursor, and are remembered by what they did."""

    def __init__(self, store: SqliteStore):
        self._store = store
        self._dead: list[DeadLetter] = []
        self.outcome = Outcome({}, [])
        self.open = store.open
        self.close = store.close
        self.prepare = store.prepare
        self.deciding = store.deciding

    def claim(
        self, partitions: Sequence[int], first_offsets: FirstOffsets, held: dict[int, int] | None = None
    ) -> list[Claimed]:
        """Never: a trial holds no lease."""
        raise LeaseLost("a trial holds no lease")

    @contextmanager
    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
        """Committed into the copy, so that the next one sees it."""
        self._dead = []
        with self._store.side_transaction() as tx:
            yield tx
        self.outcome.add(tx.counts, self._dead)

    def side_transaction(self, keep: bool = True) -> AbstractContextManager[Transaction]:
        return self._store.side_transaction(keep)

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Keeps them to be shown."""
        self._dead += letters


def try_on_copy(options: cfg.Store, pipeline: cfg.Pipeline, rows: Rows) -> Outcome | None:
    """What would become of `rows`; None when the file is too large to be copied for it.

    Raises: Retryable (the file cannot be read now), Halt (the table does not fit, no room for the copy).
    """
    file = Path(sqlite_path(options.url))
    if file.is_file() and file.stat().st_size > LARGEST_COPY_BYTES:
        return None
    with TemporaryDirectory(prefix="ingestd-check-") as directory:
        copied = structs.replace(options, url=f"sqlite:///{directory}/copy.db")
        with closing(SqliteStore(copied, LedgerKey(pipeline.name, pipeline.topic))) as inner:
            store = CopyStore(inner)
            with store.deciding():
                if file.is_file():
                    _copy(file, f"{directory}/copy.db")
            store.prepare()
            write_as_worker(store, copied, pipeline, rows)
            return store.outcome


def _copy(file: Path, target: str) -> None:
    with closing(connect(str(file), mode="ro")) as source, closing(connect(target)) as copy:
        backup: Any = source.backup
        backup(copy)
