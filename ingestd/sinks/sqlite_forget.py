"""Deleted keys that SQLite remembers, forgotten when their time is over. Knows no sink."""

import sqlite3

_STEP_KEYS = 1_000
_DELETE = """
DELETE FROM ingestd_versions WHERE (pipeline, key) IN (
    SELECT pipeline, key FROM ingestd_versions
    WHERE pipeline = :pipeline AND deleted AND julianday(changed_at) < julianday('now') - :secs / 86400.0 LIMIT :step)
"""


def forget_deleted(connection: sqlite3.Connection, pipeline: str, older_than_secs: float) -> int:
    """How many deleted keys were forgotten, in short steps: the file has one writer at a time.

    Raises: sqlite3.Error as it comes.
    """
    if not connection.execute("PRAGMA table_info(ingestd_versions)").fetchall():
        return 0
    forgotten = 0
    while True:
        values = {"pipeline": pipeline, "secs": older_than_secs, "step": _STEP_KEYS}
        deleted = connection.execute(_DELETE, values).rowcount
        forgotten += deleted
        if deleted < _STEP_KEYS:
            return forgotten
