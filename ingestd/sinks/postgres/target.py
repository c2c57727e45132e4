"""The table of a pipeline made or checked before anything is written into it. Knows no records and no statements of
the ways in."""

from pathlib import Path
from typing import Any

import psycopg

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.schema.postgres import Schema
from ingestd.sinks.postgres.table_sql import create_table, table_identifier
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.postgres.table_check import check_table


def stored_schema(pipeline: cfg.Pipeline) -> Schema:
    """The declared columns that are columns of the table."""
    return Schema.of(column for column in pipeline.column if column.stored)


def make_or_check(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline, schema: Schema) -> None:
    """The table is there and fits `schema`, its stored columns; made first with `create = true`. Does not commit.

    Raises: Halt naming every misfit with the DDL that mends it; psycopg.Error as it comes.
    """
    if pipeline.table.create:
        try:
            with connection.cursor() as cursor:
                _create(cursor, pipeline, schema)
        except psycopg.errors.DuplicateTable:
            # A session that once looked in vain may not see the table yet when it has waited for the lock.
            connection.rollback()
    problems = check_table(connection, pipeline, schema)
    if problems:
        said = "; ".join(f"{p.message}: {p.ddl}" if p.ddl else p.message for p in problems)
        raise Halt(f"table {pipeline.table.name} does not fit pipeline {pipeline.name}: {said}")


def _create(cursor: psycopg.Cursor[Any], pipeline: cfg.Pipeline, schema: Schema) -> None:
    table = pipeline.table
    if _exists(cursor, table):
        return
    cursor.execute(SQL["schema_lock"])  # several workers start together
    if _exists(cursor, table):
        return
    required = [column.name for column in pipeline.column if column.required]
    cursor.execute(Path(table.ddl).read_bytes() if table.ddl else create_table(table, schema, required))


def _exists(cursor: psycopg.Cursor[Any], table: cfg.Table) -> bool:
    found = cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table_identifier(table.name).as_string(),)).fetchone()
    return bool(found and found[0])
