"""Keeps the memory of hard deletes: makes or checks its table, forgets old deletes. Knows no records."""

from typing import Any

import psycopg
from psycopg import sql

from ingestd.errors import Halt
from ingestd.sinks.postgres.versions_sql import OLDER_ROWS, VersionsSql, versions_identifier
from ingestd.stores.postgres.statements import SQL

_FORGOTTEN_AT_ONCE = 10_000


def make_memory(
    cursor: psycopg.Cursor[Any], pipeline: str, memory: VersionsSql, table: sql.Identifier, widens: bool = False
) -> None:
    """Create the pipeline's memory when it is missing, noting whether `table` has rows already; does not commit.

    `widens`: the key's types may have become wider, and the memory follows.

    Raises: Halt when it was made for another key or version, psycopg.Error without the privilege.
    """
    if not _columns(cursor, pipeline):
        cursor.execute(SQL["schema_lock"])  # several workers start together
        if not _columns(cursor, pipeline):
            cursor.execute(memory.create)
            if cursor.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table)).fetchone() is not None:
                comment = sql.SQL("COMMENT ON TABLE {} IS {}")
                cursor.execute(comment.format(versions_identifier(pipeline), sql.Literal(OLDER_ROWS)))
            return
    if widens:
        _widen(cursor, pipeline, memory)
    if misfit := memory_misfit(cursor, pipeline, memory):
        raise Halt("; ".join(misfit))


def _widen(cursor: psycopg.Cursor[Any], pipeline: str, memory: VersionsSql) -> None:
    found = _columns(cursor, pipeline)
    if found == memory.columns or [name for name, _ in found] != [name for name, _ in memory.columns]:
        return
    cursor.execute(SQL["schema_lock"])
    have = dict(_columns(cursor, pipeline))
    for name, kind in memory.columns:
        if have[name] != kind:
            collated = sql.SQL(kind + (' COLLATE "C"' if kind in ("text", "character varying") else ""))
            widened = sql.SQL("ALTER TABLE {0} ALTER COLUMN {1} TYPE {2} USING {1}::{3}")
            cursor.execute(widened.format(versions_identifier(pipeline), sql.Identifier(name), collated, sql.SQL(kind)))


def memory_misfit(cursor: psycopg.Cursor[Any], pipeline: str, memory: VersionsSql) -> tuple[str, str] | None:
    """What is wrong with the pipeline's memory and what mends it; None when it fits or is not there yet."""
    found = _columns(cursor, pipeline)
    if found in ((), memory.columns):
        return None
    table = versions_identifier(pipeline).as_string()
    return (
        f"{table} was made for another key or version than that of pipeline {pipeline}: it has "
        f"{_said(found)}, wanted {_said(memory.columns)}",
        "rename the pipeline, or drop the table (then an upsert older than a delete brings the row back)",
    )


def forget_deleted(connection: psycopg.Connection[Any], pipeline: str, older_than_secs: float) -> int:
    """How many deleted keys were forgotten: those whose delete was written more than `older_than_secs` ago.

    `pipeline` is the name of a pipeline with hard deletes. Commits in pieces, and leaves out what a worker holds.
    An upsert older than a forgotten delete that still comes brings its row back. Raises: psycopg.Error.
    """
    table = versions_identifier(pipeline)
    statement = sql.SQL(
        "DELETE FROM {0} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {0} WHERE deleted"
        " AND updated_at < clock_timestamp() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED))"
    ).format(table)
    forgotten = 0
    with connection.cursor() as cursor:
        while _columns(cursor, pipeline):
            count = cursor.execute(statement, (older_than_secs, _FORGOTTEN_AT_ONCE)).rowcount
            connection.commit()
            forgotten += count
            if count < _FORGOTTEN_AT_ONCE:
                break
    connection.commit()
    return forgotten


def _columns(cursor: psycopg.Cursor[Any], pipeline: str) -> tuple[tuple[str, str], ...]:
    query = (
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    return tuple(cursor.execute(query, (versions_identifier(pipeline).as_string(),)).fetchall())


def _said(columns: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(f"{column} {kind}" for column, kind in columns if column[0] in "kv")
