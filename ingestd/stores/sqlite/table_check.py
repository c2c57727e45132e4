"""Whether a table of an SQLite file fits a pipeline, and the DDL that mends it. Changes nothing; knows no Kafka."""

import sqlite3
from collections.abc import Iterator, Sequence

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.schema.sqlite import affinity, sqlite_type
from ingestd.schema.types import parse_type
from ingestd.stores.problem import Problem


class Found(Struct, frozen=True):
    """A column as it is in the file."""

    name: str
    declared: str
    not_null: bool
    has_default: bool
    key_place: int
    """Its place in the primary key, from 1; 0: not in it."""
    generated: bool


def quoted(name: str) -> str:
    """The name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def names(columns: Sequence[str]) -> str:
    """The names as identifiers, with commas."""
    return ", ".join(map(quoted, columns))


def stored_columns(pipeline: cfg.Pipeline) -> list[cfg.Column]:
    """The declared columns that are columns of the table, in order."""
    return [column for column in pipeline.column if column.stored]


def find_columns(connection: sqlite3.Connection, table: str) -> list[Found]:
    """The columns of the table; empty when there is none of this name."""
    rows = connection.execute(f"PRAGMA table_xinfo({quoted(table)})").fetchall()
    return [Found(r[1], r[2], bool(r[3]), r[4] is not None, r[5], r[6] in (2, 3)) for r in rows if r[6] != 1]


def create_statement(name: str, columns: Sequence[cfg.Column], key: Sequence[str], more: Sequence[str] = ()) -> str:
    """CREATE TABLE for these columns: NOT NULL where required, the key as primary key; `more` lines go behind."""
    lines = [
        f"{quoted(column.name)} {sqlite_type(parse_type(column.type)).declared}"
        + (" NOT NULL" if column.required else "")
        for column in columns
    ]
    lines += [*more, *([f"PRIMARY KEY ({names(key)})"] if key else [])]
    return f"CREATE TABLE IF NOT EXISTS {quoted(name)} ({', '.join(lines)})"


def create_table(pipeline: cfg.Pipeline) -> str:
    """The statement that makes the pipeline's table."""
    table = pipeline.table
    declared = {column.name for column in pipeline.column}
    mark = table.delete.mark if table.delete else None
    more = [f"{quoted(mark)} INTEGER NOT NULL DEFAULT 0"] if mark and mark not in declared else []
    return create_statement(table.name, stored_columns(pipeline), table.key, more)


def check_table(connection: sqlite3.Connection, pipeline: cfg.Pipeline) -> list[Problem]:
    """Every reason why the pipeline's rows would not go into its table; empty when they fit."""
    table = pipeline.table
    found = find_columns(connection, table.name)
    if not found:
        said = f"table {table.name} does not exist; write create = true, or create it"
        return [Problem(said, f"{create_table(pipeline)};")]
    kind = connection.execute(
        "SELECT type FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND type IN ('table', 'view')", (table.name,)
    ).fetchone()
    if kind == ("view",):
        return [Problem(f"{table.name} is a view; name a table to insert into", "")]
    problems = list(column_problems(table.name, stored_columns(pipeline), found))
    by_name = {column.name.lower() for column in found}
    mark = table.delete.mark if table.delete else None
    if mark and mark.lower() not in by_name:
        add = f"ALTER TABLE {quoted(table.name)} ADD COLUMN {quoted(mark)} INTEGER NOT NULL DEFAULT 0;"
        problems.append(Problem(f'{table.name} has no column "{mark}", which delete.mark names', add))
    problems += _undeclared(pipeline, found, mark)
    if table.key and {name.lower() for name in table.key} <= by_name:
        problems += key_problems(connection, table.name, table.key, found)
    return problems


def table_notes(connection: sqlite3.Connection, pipeline: cfg.Pipeline) -> list[Problem]:
    """What fits but may surprise: columns that the table wants filled and the declaration lets be null."""
    strict = {column.name.lower() for column in find_columns(connection, pipeline.table.name) if column.not_null}
    return [
        Problem(
            f'column "{column.name}" is NOT NULL in {pipeline.table.name} but not required here: a record without it '
            "is found only by the database; write required = true",
            "",
        )
        for column in stored_columns(pipeline)
        if column.name.lower() in strict and not column.required
    ]


def column_problems(table: str, columns: Sequence[cfg.Column], found: Sequence[Found]) -> Iterator[Problem]:
    """Columns that are missing, or that would not keep what is written into them."""
    by_name = {column.name.lower(): column for column in found}
    for column in columns:
        wanted, there = sqlite_type(parse_type(column.type)), by_name.get(column.name.lower())
        if there is None:
            add = f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(column.name)} {wanted.declared};"
            yield Problem(f'{table} has no column "{column.name}"', add)
        elif there.generated:
            said = f'column "{there.name}" of {table} is generated by the database; remove it from the declared columns'
            yield Problem(said, "")
        elif affinity(there.declared) not in wanted.fits:
            yield Problem(
                f'column "{there.name}" of {table} is {there.declared}, which changes {column.type} values; SQLite '
                f"cannot change a column's type: make the table again with {quoted(column.name)} {wanted.declared}",
                "",
            )


def key_problems(
    connection: sqlite3.Connection, table: str, key: Sequence[str], found: Sequence[Found]
) -> list[Problem]:
    """The missing unique index on exactly these columns."""
    if {name.lower() for name in key} in unique_keys(connection, table, found):
        return []
    listed = ", ".join(key)
    return [
        Problem(
            f"{table} has no unique index on exactly ({listed}) (partial and expression ones do not serve)",
            _unique_index(table, key),
        )
    ]


def _unique_index(table: str, key: Sequence[str]) -> str:
    index = "_".join([table, *key, "key"])
    return f"CREATE UNIQUE INDEX {quoted(index)} ON {quoted(table)} ({names(key)});"


def unique_keys(connection: sqlite3.Connection, table: str, found: Sequence[Found]) -> list[set[str]]:
    """The sets of columns, in lower case, that ON CONFLICT (columns) can use."""
    keys = [{column.name.lower() for column in found if column.key_place}]
    for _, index, unique, _, partial in connection.execute(f"PRAGMA index_list({quoted(table)})").fetchall():
        if unique and not partial:
            columns = [row[2] for row in connection.execute(f"PRAGMA index_info({quoted(index)})")]
            keys += [{name.lower() for name in columns}] if None not in columns else []
    return [key for key in keys if key]


def _undeclared(pipeline: cfg.Pipeline, found: Sequence[Found], mark: str | None) -> Iterator[Problem]:
    declared = {column.name.lower() for column in stored_columns(pipeline)} | {(mark or "").lower()}
    for column in found:
        fills_itself = column.has_default or column.generated
        # A NOT NULL column in a primary key may be the rowid, which fills itself.
        rowid = column.key_place and column.declared.upper() == "INTEGER"
        if column.name.lower() not in declared and column.not_null and not fills_itself and not rowid:
            said = f'column "{column.name}" of {pipeline.table.name} is NOT NULL, has no default and is not declared'
            yield Problem(f"{said}; declare it, or make the table again with a default for it", "")
