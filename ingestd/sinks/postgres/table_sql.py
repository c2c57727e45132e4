"""The statements of one table: composed once, from quoted identifiers and the server's own catalogue. Runs none."""

from collections.abc import Sequence

from msgspec import Struct
from psycopg import sql

from ingestd.config import options as cfg
from ingestd.schema.postgres import Schema
from ingestd.stores.postgres.errors import record_fault_condition
from ingestd.stores.statements import load_statements

STAGING = sql.SQL("pg_temp.ingestd_staging")
NUMBERED = sql.SQL("pg_temp.ingestd_numbered")
"""Staging with a row number, in the order of the COPY. The heap keeps no order: a small row goes back into the free
space of an earlier page."""
INDEXED = sql.SQL("pg_temp.ingestd_indexed")
"""The same with an index on the number, which only the loop needs: it asks for 50 rows at a time."""
_LOOP = load_statements("loop.sql")["loop"].decode()


class TableSql(Struct, frozen=True):
    """Every statement that the sink may run, ready to execute."""

    copy_table: bytes
    copy_staging: bytes
    copy_numbered: bytes
    copy_indexed: bytes
    insert: bytes
    insert_in_order: bytes
    """From the numbered staging: of equal keys in a batch the first wins."""
    screen: bytes | None
    """Row number (from 0) and constraint of every staged row that a CHECK refuses; None when there is no CHECK."""
    insert_screened: bytes | None
    loop: bytes
    setup: tuple[bytes, ...]


def split_name(table: str) -> list[str]:
    """ "schema.table" as its parts."""
    return table.split(".", 1)


def table_identifier(table: str) -> sql.Identifier:
    """The quoted name of a table as the configuration writes it."""
    return sql.Identifier(*split_name(table))


def create_table(table: cfg.Table, schema: Schema, required: Sequence[str]) -> bytes:
    """CREATE TABLE for the stored columns: NOT NULL where required, the key as primary key, a mark for deleted rows."""
    lines: list[sql.Composable] = []
    for column in schema.columns:
        null = " NOT NULL" if column.name in required else ""
        lines.append(sql.SQL("{} " + column.type.pg_type + null).format(sql.Identifier(column.name)))
    if table.delete and table.delete.mark:
        lines.append(sql.SQL("{} boolean NOT NULL DEFAULT false").format(sql.Identifier(table.delete.mark)))
    if table.key:
        lines.append(sql.SQL("PRIMARY KEY ({})").format(_names(table.key)))
    body = sql.SQL(",\n    ").join(lines)
    name = table_identifier(table.name)
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} (\n    {}\n)").format(name, body).as_bytes()


def table_sql(table: cfg.Table, schema: Schema, checks: Sequence[tuple[str, str]]) -> TableSql:
    """The statements of `table`; `checks` are (name, expression) of CHECK constraints."""
    name, columns = table_identifier(table.name), _names(schema.names)
    conflict = (
        sql.SQL(" ON CONFLICT ({}) DO NOTHING").format(_names(table.key)) if table.mode == "insert" else sql.SQL("")
    )
    into = sql.SQL("INSERT INTO {} ({}) ").format(name, columns)
    chosen = sql.SQL("SELECT {} FROM ").format(_casts(schema, "s"))
    numbered, in_order = chosen + NUMBERED + sql.SQL(" AS s"), sql.SQL(" ORDER BY s.ingestd_row")
    refused = sql.SQL(" AND ").join(_sql(f"({text}) IS NOT FALSE") for _, text in checks)
    return TableSql(
        copy_table=copy_statement(name, schema.names),
        copy_staging=copy_statement(STAGING, schema.names),
        copy_numbered=copy_statement(NUMBERED, schema.names),
        copy_indexed=copy_statement(INDEXED, schema.names),
        insert=(into + chosen + STAGING + sql.SQL(" AS s") + conflict).as_bytes(),
        insert_in_order=(into + numbered + in_order + conflict).as_bytes(),
        screen=_screen(checks) if checks else None,
        insert_screened=(
            (into + numbered + sql.SQL(" WHERE ") + refused + in_order + conflict).as_bytes() if checks else None
        ),
        loop=_loop(into, chosen + INDEXED + sql.SQL(" AS s"), conflict, schema),
        setup=_setup(schema),
    )


def copy_statement(table: sql.Composable, columns: Sequence[str]) -> bytes:
    """The binary COPY into these columns of `table`."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table, _names(columns)).as_bytes()


def _screen(checks: Sequence[tuple[str, str]]) -> bytes:
    first = sql.SQL(" ").join(_sql(f"WHEN ({text}) IS FALSE THEN ") + sql.Literal(name) for name, text in checks)
    base = sql.SQL("SELECT ingestd_row - (SELECT min(ingestd_row) FROM ") + NUMBERED + sql.SQL(") AS n, CASE ")
    inner = base + first + sql.SQL(" END AS refused FROM ") + NUMBERED
    return (sql.SQL("SELECT n, refused FROM (") + inner + sql.SQL(") AS s WHERE refused IS NOT NULL")).as_bytes()


def _loop(into: sql.Composable, indexed: sql.Composable, conflict: sql.Composable, schema: Schema) -> bytes:
    rows = sql.SQL(" WHERE s.ingestd_row >= ingestd_next AND s.ingestd_row < ingestd_next + 50 ORDER BY s.ingestd_row")
    block = into + indexed + rows + conflict + sql.SQL(";")
    row = into + sql.SQL("VALUES ({})").format(_casts(schema, "ingestd_staged")) + conflict + sql.SQL(";")
    text = _LOOP
    for hole, statement in (("{insert_block}", block), ("{insert_row}", row)):
        text = text.replace(hole, statement.as_string())
    return text.replace("{is_record_fault}", record_fault_condition()).encode()


def _setup(schema: Schema) -> tuple[bytes, ...]:
    """Temporary tables of a session. ON COMMIT DELETE ROWS costs less than TRUNCATE, and far less than re-creating."""
    columns = sql.SQL(", ").join(
        sql.SQL("{} " + column.type.stage_type).format(sql.Identifier(column.name)) for column in schema.columns
    )
    return (
        b"DROP TABLE IF EXISTS pg_temp.ingestd_staging, pg_temp.ingestd_numbered, pg_temp.ingestd_indexed,"
        b" pg_temp.ingestd_refused",
        sql.SQL("CREATE TEMPORARY TABLE ingestd_staging ({}) ON COMMIT DELETE ROWS").format(columns).as_bytes(),
        *(
            sql.SQL(
                f"CREATE TEMPORARY TABLE {name} ({{}}, ingestd_row bigint GENERATED ALWAYS AS IDENTITY{index})"
                " ON COMMIT DELETE ROWS"
            )
            .format(columns)
            .as_bytes()
            for name, index in (("ingestd_numbered", ""), ("ingestd_indexed", " PRIMARY KEY"))
        ),
        b"CREATE TEMPORARY TABLE ingestd_refused (n integer, sqlstate text, message text, column_name text,"
        b" constraint_name text) ON COMMIT DELETE ROWS",
    )


def _casts(schema: Schema, source: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{}.{}").format(sql.Identifier(source), sql.Identifier(column.name))
        + _sql(column.type.stage_cast or "")
        for column in schema.columns
    )


def _names(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _sql(text: str) -> sql.SQL:
    """SQL that comes from the table of types or the server's catalogue, never from a record."""
    return sql.SQL(text)
