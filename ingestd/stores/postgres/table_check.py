"""Whether a table fits a pipeline, and the DDL that mends it. Reads the catalogue, changes nothing; knows no Kafka."""

from collections.abc import Iterator
from typing import Any

import psycopg
from msgspec import Struct
from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.postgres import Schema, SchemaColumn
from ingestd.schema.types import ColumnType, parse_type
from ingestd.stores.problem import Problem
from ingestd.stores.statements import load_statements

_SQL = load_statements("table_check.sql")
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index"}

_SURPRISES = {
    "trigger": 'trigger "{name}" of {table} may change a row or keep it out: a row kept out is counted as a duplicate '
    "(mode upsert: stale), and a key that it changes is not found in its own batch",
    "child": "{table} has the child table {name}, which its unique index does not cover and whose rows are counted "
    "with its own; use partitions, or a table without children",
}


class _Found(Struct, frozen=True):
    """A column as the catalogue has it; `kind` is its type, or the one under its domain."""

    name: str
    declared_as: str
    kind: str
    not_null: bool
    fills_itself: bool
    generated: bool
    always_identity: bool
    insertable: bool
    selectable: bool
    updatable: bool


def check_table(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline, schema: Schema) -> list[Problem]:
    """Every reason why the pipeline's rows would not go into its table; empty when they fit.

    Runs in the connection's transaction and leaves it usable. Raises: psycopg.Error when the connection breaks.
    """
    table = pipeline.table
    with connection.cursor() as cursor:
        found = cursor.execute(_SQL["find_table"], _place(table.name)).fetchone()
        if found is None:
            return [
                Problem(
                    f"table {table.name} does not exist; write create = true, or create it", _create(pipeline, schema)
                )
            ]
        oid, kind, usage, row_security, in_schema, deletable = found
        if kind not in ("r", "p"):
            return [Problem(f"{table.name} is {_KINDS.get(kind, 'no table')}; name a table to insert into", "")]
        columns = [_Found(*row) for row in cursor.execute(_SQL["find_columns"], {"oid": oid})]
        keys = [set(row[0]) for row in cursor.execute(_SQL["find_unique_keys"], {"oid": oid})]
        rules = [row[0] for row in cursor.execute(_SQL["find_rules"], {"oid": oid})]
        loose = dict(cursor.execute(_SQL["find_loose_collations"], {"oid": oid}).fetchall())
    problems = list(_privileges(pipeline, schema, columns, connection, in_schema, usage, deletable))
    if row_security:
        problems.append(
            Problem(
                f"{table.name} has row-level security for this role, which COPY does not allow",
                _alter(table, "DISABLE ROW LEVEL SECURITY"),
            )
        )
    problems += [_rule_problem(table, rule) for rule in rules]
    problems += [_collation_problem(table, column, loose[column]) for column in table.key if column in loose]
    by_name = {column.name: column for column in columns}
    for declared in schema.columns:
        problems += _column_problems(table, declared, by_name.get(declared.name))
    problems += _undeclared(table, schema, columns)
    if table.delete and table.delete.mark:
        problems += _mark_problems(table, by_name.get(table.delete.mark))
    if table.mode != "append" and set(table.key) <= set(by_name) and set(table.key) not in keys:
        problems.append(_no_unique_key(table))
    return problems


def table_notes(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline) -> list[Problem]:
    """What fits but may surprise: what the table wants filled and the declaration lets be null, triggers, children."""
    with connection.cursor() as cursor:
        found = cursor.execute(_SQL["find_table"], _place(pipeline.table.name)).fetchone()
        columns = [_Found(*row) for row in cursor.execute(_SQL["find_columns"], {"oid": found[0]})] if found else []
        surprises = cursor.execute(_SQL["find_surprises"], {"oid": found[0]}).fetchall() if found else []
    strict = {column.name for column in columns if column.not_null}
    said = [Problem(_SURPRISES[kind].format(table=pipeline.table.name, name=name), "") for kind, name in surprises]
    return said + [
        Problem(
            f'column "{column.name}" is NOT NULL in {pipeline.table.name} but not required here: a record without it '
            "is found only by the database; write required = true",
            "",
        )
        for column in pipeline.column
        if column.name in strict and not column.required
    ]


def _place(name: str) -> dict[str, str | None]:
    schema, _, table = name.rpartition(".")
    return {"schema": schema or None, "table": table}


def _identifier(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _names(columns: tuple[str, ...] | list[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _alter(table: cfg.Table, action: str, *columns: str) -> str:
    """ "ALTER TABLE .. action"; each {} of `action` takes a column, quoted."""
    quoted = [sql.Identifier(column).as_string() for column in columns]
    return f"ALTER TABLE {_identifier(table.name).as_string()} {action.format(*quoted)};"


def _create(pipeline: cfg.Pipeline, schema: Schema) -> str:
    required = {column.name for column in pipeline.column if column.required}
    lines = [
        f"{sql.Identifier(column.name).as_string()} {column.type.pg_type}"
        + (" NOT NULL" if column.name in required else "")
        for column in schema.columns
    ]
    if pipeline.table.delete and pipeline.table.delete.mark:
        lines.append(f"{sql.Identifier(pipeline.table.delete.mark).as_string()} boolean NOT NULL DEFAULT false")
    if pipeline.table.key:
        lines.append(f"PRIMARY KEY ({_names(pipeline.table.key).as_string()})")
    return f"CREATE TABLE {_identifier(pipeline.table.name).as_string()} ({', '.join(lines)});"


def _no_unique_key(table: cfg.Table) -> Problem:
    key = ", ".join(table.key)
    return Problem(
        f"{table.name} has no unique index on exactly ({key}), which mode {table.mode} needs to find the row of a key "
        "(partial, expression and deferrable ones do not serve)",
        f"CREATE UNIQUE INDEX ON {_identifier(table.name).as_string()} ({_names(table.key).as_string()});",
    )


def _rule_problem(table: cfg.Table, rule: str) -> Problem:
    name = sql.Identifier(rule).as_string()
    return Problem(
        f'{table.name} has the rule "{rule}", which an INSERT obeys and COPY does not; use a trigger',
        f"DROP RULE {name} ON {_identifier(table.name).as_string()};",
    )


def _collation_problem(table: cfg.Table, column: str, collation: str) -> Problem:
    return Problem(
        f'key column "{column}" of {table.name} has the nondeterministic collation "{collation}": keys that differ are '
        "equal there, so the order of their records would be lost; have the producer write one form",
        _alter(table, 'ALTER COLUMN {} TYPE text COLLATE "C"', column),
    )


def _privileges(
    pipeline: cfg.Pipeline,
    schema: Schema,
    columns: list[_Found],
    connection: psycopg.Connection[Any],
    in_schema: str,
    usage: bool,
    deletable: bool,
) -> Iterator[Problem]:
    role = sql.Identifier(connection.info.user).as_string()
    table = pipeline.table
    if not usage:
        grant = f"GRANT USAGE ON SCHEMA {sql.Identifier(in_schema).as_string()} TO {role};"
        yield Problem(f"no privilege: USAGE on schema {in_schema}", grant)
    declared = [column for column in columns if column.name in schema.names]
    # ON CONFLICT (key) reads the key's columns; an upsert reads all that it may keep.
    read = [column for column in declared if table.mode == "upsert" or column.name in table.key]
    missing = [] if all(column.insertable for column in declared) else ["INSERT"]
    missing += [] if all(column.selectable for column in read) or table.mode == "append" else ["SELECT"]
    missing += [] if all(column.updatable for column in read) or table.mode != "upsert" else ["UPDATE"]
    if table.delete and table.delete.how == "hard" and not deletable:
        missing.append("DELETE")
    if missing:
        wanted = ", ".join(missing)
        grant = f"GRANT {wanted} ON {_identifier(table.name).as_string()} TO {role};"
        yield Problem(f"no privilege: {wanted} on table {table.name}", grant)


def _column_problems(table: cfg.Table, declared: SchemaColumn, found: _Found | None) -> Iterator[Problem]:
    wanted = declared.type.pg_type
    if found is None:
        yield Problem(
            f'{table.name} has no column "{declared.name}"', _alter(table, f"ADD COLUMN {{}} {wanted}", declared.name)
        )
    elif found.generated:
        yield Problem(
            f'column "{found.name}" of {table.name} is generated by the database; remove it from the declared columns',
            _alter(table, "ALTER COLUMN {} DROP EXPRESSION", found.name),
        )
    elif found.always_identity:
        yield Problem(
            f'column "{found.name}" of {table.name} is GENERATED ALWAYS; remove it from the declared columns',
            _alter(table, "ALTER COLUMN {} SET GENERATED BY DEFAULT", found.name),
        )
    elif not _fits(declared.type, found.kind):
        yield Problem(
            f'column "{found.name}" of {table.name} is {found.declared_as}, declared {declared.type.name} ({wanted})',
            _alter(table, f"ALTER COLUMN {{}} TYPE {wanted} USING {{}}::{wanted}", found.name, found.name),
        )


def _mark_problems(table: cfg.Table, found: _Found | None) -> Iterator[Problem]:
    assert table.delete and table.delete.mark
    mark = table.delete.mark
    if found is None:
        action = "ADD COLUMN {} boolean NOT NULL DEFAULT false"
        yield Problem(f'{table.name} has no column "{mark}", the mark of deleted rows', _alter(table, action, mark))
    elif found.kind != "boolean" or found.generated:
        yield Problem(
            f'column "{mark}" of {table.name} marks deleted rows and must be a plain boolean, not {found.declared_as}',
            _alter(table, "ALTER COLUMN {} TYPE boolean USING {}::boolean", mark, mark) if not found.generated else "",
        )


def _undeclared(table: cfg.Table, schema: Schema, columns: list[_Found]) -> Iterator[Problem]:
    mark = table.delete.mark if table.delete else None
    for column in columns:
        if (
            column.name not in (*schema.names, mark)
            and column.not_null
            and not (column.fills_itself or column.generated)
        ):
            yield Problem(
                f'column "{column.name}" of {table.name} is NOT NULL, has no default and is not declared; declare it',
                _alter(table, "ALTER COLUMN {} DROP NOT NULL", column.name),
            )


def _fits(declared: ColumnType, found: str) -> bool:
    """Whether every value of the declared type goes into a column of type `found` (format_type) unchanged.

    Only types with the same binary form come into question: COPY does not convert.
    """
    if found == declared.pg_type:
        return True
    if declared.is_array or found.endswith("[]"):
        return False
    if declared.scalar in ("timestamptz", "timestamp", "time"):
        return found.replace("(6)", "") == declared.pg_type
    if declared.scalar in ("text", "varchar") and found in ("text", "character varying"):
        return True
    if declared.scalar == "numeric" and found == "numeric":
        return True
    try:
        other = parse_type(found)
    except ValueError:
        return False
    if other.scalar != declared.scalar or not declared.args or not other.args:
        return False
    if declared.scalar == "varchar":
        return other.args[0] >= declared.args[0]
    (precision, scale), (other_precision, other_scale) = declared.args, other.args
    return other_scale >= scale and other_precision - other_scale >= precision - scale
