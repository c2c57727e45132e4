"""The dead letters of a pipeline in the store that a URL names. Loads only the driver that is needed."""

from typing import Any

from ingestd.config import options as cfg
from ingestd.stores.open import is_sqlite
from ingestd.stores.store import LedgerKey


def open_letters(options: cfg.Store, store: Any, key: LedgerKey) -> Any:
    """The `DeadLetterBox` and `Outbox` of `key`, on the connection of `store`."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.letters import SqliteLetters

        return SqliteLetters(options.url, store, key)
    from ingestd.stores.postgres.letters import PostgresLetters

    return PostgresLetters(store, key)
