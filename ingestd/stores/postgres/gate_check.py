"""Whether a table serves as a gate, and the DDL that makes or mends it. Changes nothing; knows no records.

Needed are the key columns and a unique index on exactly them. The winner's place (topic, partition, offset) tells who
brought a key: a table without these columns still keeps duplicates out, and is only noted.
"""

from typing import Any

import psycopg
from msgspec import Struct, structs
from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.postgres import Schema
from ingestd.schema.types import parse_type
from ingestd.stores.postgres.table_check import check_table
from ingestd.stores.problem import Problem
from ingestd.stores.statements import load_statements

PLACE = {"topic": "text", "partition": "int4", "offset": "int8"}
"""Columns for the record that brought a key."""
SEEN_AT = "seen_at"
"""Column for the time of the transaction that brought a key; retention goes by it."""
_SQL = load_statements("table_check.sql")


class GateColumns(Struct, frozen=True):
    """What of a gate's table is written besides its key."""

    key: tuple[str, ...]
    place: bool
    seen_at: bool


def gate_key(dedupe: cfg.Dedupe) -> tuple[str, ...]:
    """The columns of the gate's key."""
    return (dedupe.key,) if isinstance(dedupe.key, str) else dedupe.key


def gate_columns(connection: psycopg.Connection[Any], dedupe: cfg.Dedupe) -> GateColumns | None:
    """What the table has of the columns that a gate writes; None when there is no such table."""
    schema, _, table = dedupe.table.rpartition(".")
    with connection.cursor() as cursor:
        found = cursor.execute(_SQL["find_table"], {"schema": schema or None, "table": table}).fetchone()
        if found is None:
            return None
        rows = cursor.execute(_SQL["find_columns"], {"oid": found[0]}).fetchall()
    kinds = {row[0]: row[2] for row in rows}
    seen_at = kinds.get(SEEN_AT) == parse_type("timestamptz").pg_type
    return GateColumns(gate_key(dedupe), bool(PLACE.keys() & kinds.keys()), seen_at)


def gate_schema(pipeline: cfg.Pipeline, columns: GateColumns) -> Schema:
    """The columns that the gate writes, in the order of its statements; `seen_at` fills itself."""
    declared = {column.name: column for column in pipeline.column}
    key = [declared[name] for name in columns.key]
    place = [cfg.Column(name=name, type=kind) for name, kind in PLACE.items()] if columns.place else []
    return Schema.of([*key, *place])


def check_gate(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline) -> list[Problem]:
    """Every reason why the gate of `pipeline` would not work; empty when it does.

    Runs in the connection's transaction and leaves it usable. Raises: psycopg.Error when the connection breaks.
    """
    dedupe = pipeline.dedupe
    assert dedupe is not None
    columns = gate_columns(connection, dedupe)
    if columns is None:
        said = f"table {dedupe.table} of the gate does not exist; write dedupe.create = true, or create it"
        return [Problem(said, " ".join(f"{statement};" for statement in create_gate(pipeline)))]
    declared = {column.name: column for column in pipeline.column}
    written = [declared[name] for name in columns.key]
    if columns.place:
        written += [cfg.Column(name=name, type=kind) for name, kind in PLACE.items()]
    if columns.seen_at:
        written.append(cfg.Column(name=SEEN_AT, type="timestamptz"))
    table = cfg.Table(name=dedupe.table, mode="insert", key=columns.key)
    as_table = structs.replace(pipeline, column=tuple(written), table=table)
    problems = check_table(connection, as_table, Schema.of(written))
    if pipeline.lake is not None and not columns.place:
        problems.append(_no_place(dedupe, "behind it a lake cannot tell which record was let through"))
    return problems + (_retention_problems(connection, dedupe, columns) if dedupe.retention is not None else [])


def _retention_problems(connection: psycopg.Connection[Any], dedupe: cfg.Dedupe, columns: GateColumns) -> list[Problem]:
    name = sql.Identifier(*dedupe.table.split("."))
    problems = []
    if not columns.seen_at:
        ddl = sql.SQL("ALTER TABLE {} ADD COLUMN {} timestamp with time zone NOT NULL DEFAULT now();")
        said = f'{dedupe.table} has no column "{SEEN_AT}" of timestamp with time zone, by which dedupe.retention goes'
        problems.append(Problem(said, ddl.format(name, sql.Identifier(SEEN_AT)).as_string()))
    asked = "SELECT has_table_privilege(%(table)s, 'UPDATE') AND has_table_privilege(%(table)s, 'DELETE')"
    with connection.cursor() as cursor:
        allowed = cursor.execute(asked, {"table": name.as_string()}).fetchone()
    if allowed != (True,):
        role = sql.Identifier(connection.info.user)
        grant = sql.SQL("GRANT UPDATE, DELETE ON {} TO {};").format(name, role).as_string()
        said = f"no privilege: UPDATE, DELETE on table {dedupe.table}, which dedupe.retention needs to forget keys"
        problems.append(Problem(said, grant))
    return problems


def gate_notes(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline) -> list[Problem]:
    """What works but is worth knowing of an existing table."""
    dedupe = pipeline.dedupe
    assert dedupe is not None
    columns = gate_columns(connection, dedupe)
    if columns is None or columns.place:
        return []
    return [_no_place(dedupe, "it keeps duplicates out, but does not tell which record brought a key")]


def _no_place(dedupe: cfg.Dedupe, consequence: str) -> Problem:
    said = f"{dedupe.table} has no columns topic, partition, offset: {consequence}"
    add = sql.SQL(", ").join(
        sql.SQL("ADD COLUMN {} " + parse_type(kind).pg_type).format(sql.Identifier(name))
        for name, kind in PLACE.items()
    )
    table = sql.Identifier(*dedupe.table.split("."))
    return Problem(said, sql.SQL("ALTER TABLE {} {};").format(table, add).as_string())


def create_gate(pipeline: cfg.Pipeline) -> list[str]:
    """The statements that make the table of a gate, and with retention the index on its times."""
    dedupe = pipeline.dedupe
    assert dedupe is not None
    kinds = {column.name: parse_type(column.type) for column in pipeline.column}
    key = gate_key(dedupe)
    lines = []
    for name in key:
        # Keys are only compared for equality, and come in bytes order.
        collation = ' COLLATE "C"' if kinds[name].scalar in ("text", "varchar") else ""
        lines.append(sql.SQL("{} " + kinds[name].pg_type + collation + " NOT NULL").format(sql.Identifier(name)))
    for name, kind in PLACE.items():
        lines.append(sql.SQL("{} " + parse_type(kind).pg_type + " NOT NULL").format(sql.Identifier(name)))
    lines.append(sql.SQL("{} timestamp with time zone NOT NULL DEFAULT now()").format(sql.Identifier(SEEN_AT)))
    lines.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, key))))
    table = sql.Identifier(*dedupe.table.split("."))
    made = [sql.SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(table, sql.SQL(", ").join(lines)).as_string()]
    if dedupe.retention is not None:
        made.append(sql.SQL("CREATE INDEX ON {} ({})").format(table, sql.Identifier(SEEN_AT)).as_string())
    return made
