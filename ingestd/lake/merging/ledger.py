"""What merges and removes files of a lake has in the store. Knows no files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct, structs

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.lake.catalogued import open_catalogued
from ingestd.stores.lake_lock import LakeLock
from ingestd.stores.manifest import LAKE_GROUP, Manifest, ReplacedFiles
from ingestd.stores.open import open_lake_lock, open_replaced_files, open_store
from ingestd.stores.store import LedgerKey, Store


class Busy(Retryable):
    """Somebody else merges or removes files of this lake."""


class Ledger(Struct, frozen=True):
    """One lake in its store."""

    store: Store
    manifest: Manifest
    replaced: ReplacedFiles
    lock: LakeLock

    @contextmanager
    def held(self, what: str) -> Iterator[None]:
        """This process alone merges and removes files of the lake `what`. Raises: Busy, Retryable, Halt."""
        holder = self.lock.take()
        if holder is not None:
            raise Busy(f"{what}: its files are being merged or removed by {holder}; wait until it has ended")
        try:
            yield
        finally:
            self.lock.release()


def open_ledger(options: cfg.Store, pipeline: cfg.Pipeline) -> Ledger:
    """A session of its own, which connects when it is first used; the lake's tables must be made (`prepare`).

    Its commits are durable: what they replace is removed at once.
    """
    durable = structs.replace(options, synchronous_commit="on")
    store = open_store(durable, LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP))
    lock = open_lake_lock(durable, store, pipeline)
    return Ledger(store, open_catalogued(durable, pipeline), open_replaced_files(durable, pipeline), lock)


def prepare(ledger: Ledger) -> None:
    """The tables that are missing are made. Raises: Halt with the statements when this role may not."""
    ledger.store.prepare()
    with ledger.store.deciding():
        ledger.manifest.prepare(ledger.store.open())
