"""A source's TRUNCATE in PostgreSQL. Knows no records."""

from psycopg import sql

from ingestd.config import options as cfg
from ingestd.config.topics import memory_name
from ingestd.sinks.postgres.table_sql import table_identifier
from ingestd.sinks.postgres.versions_sql import versions_identifier
from ingestd.stores.store import Transaction


def truncate(tx: Transaction, pipeline: cfg.Pipeline) -> None:
    """The table is empty, and no delete in it is remembered, if `tx` commits. Raises: psycopg.Error.

    TRUNCATE, so that it takes as long with a billion rows as with one; the role needs that privilege.
    """
    tx.cursor.execute(sql.SQL("TRUNCATE {}").format(table_identifier(pipeline.table.name)))
    memory = versions_identifier(memory_name(pipeline))
    if tx.cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (memory.as_string(),)).fetchone()[0]:
        tx.cursor.execute(sql.SQL("DELETE FROM {}").format(memory))
