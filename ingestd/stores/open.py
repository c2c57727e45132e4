"""The store that a URL names. Loads only the driver that is needed."""

from ingestd.config import options as cfg
from ingestd.stores.store import LedgerKey, Store


def is_sqlite(options: cfg.Store) -> bool:
    """Whether the store is an SQLite file."""
    return str.__str__(options.url)[:7].lower() == "sqlite:"


def open_store(options: cfg.Store, key: LedgerKey) -> Store:
    """The store of `options`; it connects when it is first used."""
    from ingestd.stores.postgres import PostgresStore

    return PostgresStore(options, key)
