"""The store that a URL names. Loads only the driver that is needed."""

from ingestd.config import options as cfg
from ingestd.config.store_url import is_sqlite_url
from ingestd.stores.store import LedgerKey, Store


def is_sqlite(options: cfg.Store) -> bool:
    """Whether the store is an SQLite file."""
    return is_sqlite_url(options.url)


def open_store(options: cfg.Store, key: LedgerKey) -> Store:
    """The store of `options`; it connects when it is first used."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.store import SqliteStore

        return SqliteStore(options, key)
    from ingestd.stores.postgres.store import PostgresStore

    return PostgresStore(options, key)
