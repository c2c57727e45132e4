"""What belongs to the store that a URL names. Loads only the driver that is needed."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ingestd.batch import Tile
from ingestd.config import options as cfg
from ingestd.config.store_url import is_sqlite_url, sqlite_path
from ingestd.stores.cursors import CursorRow
from ingestd.stores.ducklake import Dialect
from ingestd.stores.evolution import EvolvedColumns
from ingestd.stores.lake_lock import LakeLock
from ingestd.stores.manifest import Manifest, ReplacedFiles
from ingestd.stores.medallion import Statements
from ingestd.stores.runs import Runs
from ingestd.stores.source_tables import SourceTables
from ingestd.stores.store import LedgerKey, Store

DeadPlaces = Callable[[Any, LedgerKey, Sequence[Tile], Mapping[int, str]], set[tuple[int, int]]]
"""(cursor of a transaction, whose letters, tiles, topic id by partition) -> (partition, offset) of each letter."""


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


def open_letters(options: cfg.Store, store: Any, key: LedgerKey) -> Any:
    """The `DeadLetterBox` and `Outbox` of `key`, on the connection of `store`."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.letters import SqliteLetters

        return SqliteLetters(options.url, store, key)
    from ingestd.stores.postgres.letters import PostgresLetters

    return PostgresLetters(store, key)


def read_cursors(options: cfg.Store, key: LedgerKey) -> list[CursorRow]:
    """Every cursor of `key`, by partition; empty when the ledger does not know it. On a connection of its own.

    Raises: StartupError, Retryable, Halt when the store cannot be read.
    """
    if is_sqlite(options):
        from ingestd.stores.sqlite.cursors import read_cursor_rows as read_file

        return read_file(sqlite_path(options.url), key)
    from ingestd.stores.postgres.cursors import read_cursor_rows
    from ingestd.stores.postgres.store import connect

    with connect(str.__str__(options.url), "ingestd") as connection:
        return read_cursor_rows(connection, key)


def dead_places(options: cfg.Store) -> DeadPlaces:
    """What tells the places of the dead letters of a ledger's tiles."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.dead_letters import dead_places as in_sqlite

        return in_sqlite
    from ingestd.stores.postgres.dead_letters import dead_places as in_postgres

    return in_postgres


def open_source_tables(options: cfg.Store, pipeline: cfg.Pipeline) -> SourceTables:
    """What the ledger remembers of the source's table that the pipeline copies."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.source_tables import SqliteSourceTables

        return SqliteSourceTables(pipeline)
    from ingestd.stores.postgres.source_tables import PostgresSourceTables

    return PostgresSourceTables(pipeline)


def open_evolution(options: cfg.Store, pipeline: cfg.Pipeline) -> EvolvedColumns:
    """The evolved columns of the pipeline's table."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.evolution import SqliteEvolution

        return SqliteEvolution(pipeline)
    from ingestd.stores.postgres.evolution import PostgresEvolution

    return PostgresEvolution(pipeline)


def open_manifest(options: cfg.Store, pipeline: cfg.Pipeline) -> Manifest:
    """The manifest of the pipeline's lake, over all its topics."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.manifest import SqliteManifest

        return SqliteManifest(pipeline.name)
    from ingestd.stores.postgres.manifest import PostgresManifest

    return PostgresManifest(pipeline.name)


def open_replaced_files(options: cfg.Store, pipeline: cfg.Pipeline) -> ReplacedFiles:
    """The files of the pipeline's lake that wait to be removed."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.manifest import SqliteReplacedFiles

        return SqliteReplacedFiles(pipeline.name)
    from ingestd.stores.postgres.manifest import PostgresReplacedFiles

    return PostgresReplacedFiles(pipeline.name)


def open_runs(options: cfg.Store) -> Runs:
    """The runs of all hosts that use the store."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.runs import SqliteRuns

        return SqliteRuns()
    from ingestd.stores.postgres.runs import PostgresRuns

    return PostgresRuns()


def open_lake_lock(options: cfg.Store, store: Store, pipeline: cfg.Pipeline) -> LakeLock:
    """The lock of the pipeline's lake, for what `store` commits."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.lake_lock import SqliteLakeLock

        return SqliteLakeLock(sqlite_path(options.url), pipeline.name)
    from ingestd.stores.postgres.lake_lock import PostgresLakeLock

    return PostgresLakeLock(store, pipeline.name)


def open_reading(options: cfg.Store) -> AbstractContextManager[Any]:
    """A connection that cannot write. Raises: StartupError when the store cannot be asked, or has no such table."""
    url = str.__str__(options.url)
    if is_sqlite(options):
        from ingestd.stores.sqlite.reading import open_reading as sqlite_reading

        return sqlite_reading(url)
    from ingestd.stores.postgres.reading import open_reading as postgres_reading

    return postgres_reading(url)


def open_medallion(options: cfg.Store) -> Statements:
    """What executes the statements of stage and current tables."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.medallion import SqliteMedallion

        return SqliteMedallion()
    from ingestd.stores.postgres.medallion import PostgresMedallion

    return PostgresMedallion()


def open_ducklake(options: cfg.Store, schema: str) -> Dialect:
    """How the store keeps a DuckLake catalogue; `schema` is PostgreSQL's."""
    if is_sqlite(options):
        from ingestd.stores.sqlite.ducklake import SqliteDuckLake

        return SqliteDuckLake()
    from ingestd.stores.postgres.ducklake import PostgresDuckLake

    return PostgresDuckLake(schema)
