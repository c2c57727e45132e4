"""Forgets in SQLite which keys were hard deleted, when their time is over. Knows no election and no clock."""

import sqlite3

from ingestd.stores.sqlite.file import begin

_OLD = "changed_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?)"
_STEP_KEYS = 10_000


def forget_deleted(connection: sqlite3.Connection, pipeline: str, older_than_secs: float) -> int:
    """How many deleted keys were forgotten, in steps that commit. An older upsert of one brings its row back.

    Raises: sqlite3.Error as it comes.
    """
    exists = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'ingestd_versions'"
    if not connection.execute(exists).fetchone()[0]:
        return 0
    chosen = f"SELECT key FROM ingestd_versions WHERE pipeline = ?1 AND deleted AND {_OLD.replace('?', '?2')} LIMIT ?3"
    statement = f"DELETE FROM ingestd_versions WHERE pipeline = ?1 AND key IN ({chosen})"
    forgotten = 0
    while True:
        cursor = begin(connection)
        step = int(cursor.execute(statement, (pipeline, f"-{older_than_secs} seconds", _STEP_KEYS)).rowcount)
        cursor.execute("COMMIT")
        forgotten += step
        if step < _STEP_KEYS:
            return forgotten
