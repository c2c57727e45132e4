"""A source's TRUNCATE in SQLite. Knows no records."""

from ingestd.config import options as cfg
from ingestd.config.topics import memory_name
from ingestd.stores.sqlite.table_check import quoted
from ingestd.stores.store import Transaction

_MEMORY = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'ingestd_versions'"


def truncate(tx: Transaction, pipeline: cfg.Pipeline) -> None:
    """The table is empty, and no delete in it is remembered, if `tx` commits. Raises: sqlite3.Error."""
    tx.cursor.execute(f"DELETE FROM {quoted(pipeline.table.name)}")
    if tx.cursor.execute(_MEMORY).fetchone()[0]:
        tx.cursor.execute("DELETE FROM ingestd_versions WHERE pipeline = ?", (memory_name(pipeline),))
