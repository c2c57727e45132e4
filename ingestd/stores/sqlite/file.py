"""An SQLite file opened as ingestd needs it, and the ledger's tables in it. Knows no lease and no Kafka."""

import os
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ingestd.errors import Halt
from ingestd.stores.statements import load_statements
from ingestd.stores.store import LedgerKey

SQL = {name: text.decode() for name, text in load_statements("sqlite_ledger.sql").items()}
"""The statements of the SQLite ledger."""
MIN_VERSION = (3, 35, 0)
"""RETURNING; the upsert is of 3.24."""
LONGEST_WAIT_SECS = 5.0
"""For the lock of another process, at a time: the worker must come back to its heartbeat and say what it waits for."""
_CACHE_KIB = 64 * 1024
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_CHECKPOINT_PAGES = 10_000
"""40 MB of log between checkpoints: with SQLite's 1,000 pages a row with a random key cost 5.0 us instead of 4.1."""
_TABLES = ("cursors", "ranges", "dead_letters")
_COLUMN = re.compile(r'^ +"?([a-z_]+)"? +(.+?),?$', re.MULTILINE)


def old_library() -> str | None:
    """What to say when this Python's SQLite is too old; None when it will do."""
    if sqlite3.sqlite_version_info >= MIN_VERSION:
        return None
    wanted = ".".join(map(str, MIN_VERSION[:2]))
    return f"SQLite {sqlite3.sqlite_version} of this Python is too old; ingestd needs {wanted} or newer"


def connect(path: str, wait_secs: float = LONGEST_WAIT_SECS, mode: str = "rwc") -> sqlite3.Connection:
    """A connection that begins transactions only when told to, and waits so long for a lock.

    `mode`: "ro", "rw" (the file must be there), "rwc". Raises: Halt when the directory is missing, sqlite3.Error.
    """
    if problem := old_library():
        raise Halt(f"{problem}; use a Python with a newer one")
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise Halt(f"SQLite file {path}: the directory {folder} does not exist; create it, then reload (HUP)")
    return sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?mode={mode}",
        uri=True,
        timeout=wait_secs,
        isolation_level=None,
        cached_statements=64,
    )


def make_writable(connection: sqlite3.Connection, path: str, synchronous: str) -> None:
    """The settings of a session that writes. Raises: Halt when the file system knows no WAL, sqlite3.Error."""
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise Halt(
            f"SQLite file {path}: no write-ahead log here (journal_mode stays {mode}); "
            "put the file on a local file system, then reload (HUP)"
        )
    for setting in (
        f"synchronous = {synchronous}",
        "foreign_keys = ON",
        f"cache_size = -{_CACHE_KIB}",
        f"journal_size_limit = {_WAL_KEPT_BYTES}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {setting}")


def file_identity(path: str) -> tuple[int, int] | None:
    """Device and inode of the file that has this name now; None when none has."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def begin(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """A cursor in a transaction that has the only write lock."""
    return connection.execute("BEGIN IMMEDIATE")


def ledger_tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of the ledger's tables that are there, by table without its prefix."""
    found = {}
    for table in _TABLES:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info(ingestd_{table})")}
        if columns:
            found[table] = columns
    return found


def make_ledger(connection: sqlite3.Connection) -> None:
    """Create the tables that are missing and add the columns that an older version did not have; commits."""
    if not _missing(connection):
        return
    begin(connection)
    for statement in _missing(connection):  # another worker may have been first
        connection.execute(statement)
    connection.execute("COMMIT")


def _missing(connection: sqlite3.Connection) -> list[str]:
    found, statements = ledger_tables(connection), []
    for table in _TABLES:
        create = SQL[f"create_{table}"]
        if table not in found:
            statements.append(create)
            continue
        wanted = [(name, kind) for name, kind in _COLUMN.findall(create) if name not in found[table]]
        statements += [f'ALTER TABLE ingestd_{table} ADD COLUMN "{name}" {kind}' for name, kind in wanted]
    return statements


def finish_ranges(cursor: sqlite3.Cursor, key: LedgerKey, partitions: Sequence[int], ended_by: str) -> None:
    """Archive the ranges of these cursors and begin new ones where they stand."""
    for partition in partitions:
        values = key.params(partition=partition, ended_by=ended_by)
        cursor.execute(SQL["archive_range"], values)
        cursor.execute(SQL["begin_range"], values)
