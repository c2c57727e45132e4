"""An SQLite file opened for reading only, beside the daemon that writes it. Knows no ledger."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingestd.config.store_url import sqlite_path
from ingestd.errors import StartupError
from ingestd.stores.sqlite.file import connect


@contextmanager
def open_reading(url: str) -> Iterator[sqlite3.Connection]:
    """A connection in one read transaction: every answer is of the same moment, and nothing can be changed.

    Raises: StartupError when there is no such file, or it is no database.
    """
    file = Path(sqlite_path(url))
    if not file.is_file():
        raise StartupError(f"{file}: no such database; mend store.url, or run the pipeline once first")
    connection = connect(str(file), mode="ro")
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        connection.execute("PRAGMA query_only = ON")
        # ATTACH would make its file, read-only or not.
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection
    except sqlite3.Error as error:
        raise StartupError(f"{file}: {error}") from error
    finally:
        connection.close()
