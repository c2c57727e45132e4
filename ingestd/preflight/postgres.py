"""What of the database a start would meet: server, login, privileges, tables. Every transaction here is rolled back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ingestd.config.options import Config, Pipeline
from ingestd.config.topics import memory_name
from ingestd.errors import Halt
from ingestd.preflight.findings import Finding, State
from ingestd.preflight.postgres_gate import examine_gate
from ingestd.schema.postgres import Schema
from ingestd.sinks.postgres.table_sql import create_table
from ingestd.stores.postgres.ledger import make_ledger, what_lacks
from ingestd.stores.postgres.table_check import check_table, table_notes
from ingestd.stores.statements import load_statements

CONNECT_TIMEOUT_SECS = 5
MIN_SERVER_VERSION = 140000
_SQL = load_statements("preflight.sql")

Connection = psycopg.Connection[Any]

# libpq gives no SQLSTATE for a connection that failed: its words, and the server's in English, are all there is.
_CONNECT_FAILURES = (
    ("password authentication failed", "login", "authentication failed", "mend user and password in store.url"),
    ("no password supplied", "login", "authentication failed", "store.url has no password; write one"),
    ("authentication failed", "login", "authentication failed", "mend user and password in store.url"),
    ("no pg_hba.conf entry", "login", "authentication failed", "let user, database and this host in by pg_hba.conf"),
    ("is not permitted to log in", "login", "authentication failed", "ALTER ROLE .. LOGIN, or use another role"),
    ("permission denied for database", "database", "no privilege", "GRANT CONNECT ON DATABASE .. TO the role"),
    ("refused", "database host", "connection refused", "start PostgreSQL there, or mend host and port in store.url"),
    ("translate host name", "database host", "host not found", "mend the host in store.url"),
    ("name or service not known", "database host", "host not found", "mend the host in store.url"),
    ("timeout", "database host", "no answer", "mend host and port in store.url; is there a firewall?"),
    ("too many", "login", "too many connections", "raise max_connections, or end sessions that are idle"),
    ("the database system is", "database host", "not ready", "wait until PostgreSQL has started, and check again"),
)


def examine_postgres(config: Config) -> Iterator[Finding]:
    """Findings about the database and the tables of all pipelines."""
    url = str.__str__(config.store.url)
    if url == "embedded":
        yield Finding(State.OK, "database", "embedded: `ingestd run` starts it; tables are made where create = true")
        return
    with ExitStack() as opened:
        try:
            parts = conninfo_to_dict(url)
            where = _place(parts)
            connection = _connect(opened, url)
            yield Finding(State.OK, "database host", f"{where} answers")
            yield Finding(State.OK, "login", f"as {connection.info.user}")
            yield from _examine_server(connection, _connect(opened, url))
            yield from _examine_ledger(connection)
            for pipeline in config.pipeline:
                if pipeline.has_table():
                    yield from _examine_table(connection, pipeline)
                if pipeline.dedupe is not None:
                    yield from examine_gate(connection, pipeline)
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:
                yield Finding(State.FAIL, "database", f"refuses: {_first_line(error)}", "mend that and check again")
                return
            yield Finding(
                State.FAIL, "configuration", f"store.url: {_first_line(error)}", "mend it", configuration=True
            )
        except psycopg.Error as error:
            yield from _connect_failure(error, where, str(parts.get("dbname", "")))


def _connect(opened: ExitStack, url: str) -> Connection:
    connection = opened.enter_context(
        psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_SECS, client_encoding="UTF8", autocommit=True)
    )
    for name, value in (("statement_timeout", "10s"), ("lock_timeout", "5s")):
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    return connection


def _place(parts: dict[str, Any]) -> str:
    return f"{parts.get('host') or 'local socket'}:{parts.get('port') or 5432}"


def _connect_failure(error: psycopg.Error, where: str, database: str) -> Iterator[Finding]:
    said = " ".join(str(error).split())
    lowered = said.lower()
    reached = [Finding(State.OK, "database host", f"{where} answers")]
    if f'database "{database}" does not exist' in said:
        create = f"CREATE DATABASE {sql.Identifier(database).as_string()};"
        yield from reached
        yield Finding(State.FAIL, "database", f"database does not exist: {database}", f"mend store.url, or: {create}")
        return
    for words, subject, short, mend in _CONNECT_FAILURES:
        if words in lowered:
            if subject != "database host":
                yield from reached
            yield Finding(State.FAIL, subject, f"{short}: {said}", mend)
            return
    yield Finding(State.FAIL, "database host", f"cannot connect to {where}: {said}", "mend that and check again")


def _examine_server(connection: Connection, other: Connection) -> Iterator[Finding]:
    version = connection.info.server_version
    written = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version < MIN_SERVER_VERSION:
        yield Finding(State.FAIL, "database", f"{written} is too old", "use PostgreSQL 14 or newer")
    elif connection.execute(_SQL["read_only"]).fetchone() == (True,):
        yield Finding(State.FAIL, "database", "is read-only (a standby?)", "connect to the primary")
    else:
        yield Finding(State.OK, "database", f"{connection.info.dbname}, {written}")
    if _shares_backends(connection, other):
        yield Finding(
            State.FAIL,
            "connection",
            "a proxy with transaction pooling is in between: staging and claims would not survive a transaction",
            "connect to PostgreSQL itself, or set the proxy to pool_mode = session",
        )


def _shares_backends(connection: Connection, other: Connection) -> bool:
    """Whether two open sessions are served by one backend, or one session by two.

    A transaction-pooling proxy lends a backend per transaction: the second session gets the one that the first has
    just left, or, while the second holds it, the first gets another.
    """
    first = _backend(connection)
    with other.transaction():
        second = _backend(other)
        return first == second or _backend(connection) != first


def _backend(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def _examine_ledger(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(_SQL["ledger"]).fetchone()
    assert row is not None, "a SELECT without FROM has a row"
    schema_exists, tables_exist, may_create, may_create_tables, may_write, may_temp, database, role = row
    quoted, to = sql.Identifier(database).as_string(), sql.Identifier(role).as_string()
    if not may_temp:
        mend = f"GRANT TEMPORARY ON DATABASE {quoted} TO {to};"
        yield Finding(State.FAIL, "privileges", "no privilege: TEMPORARY tables, through which rows are staged", mend)
    if tables_exist and may_write:
        yield _ledger_version(connection)
    elif tables_exist:
        tables = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingestd"
        grant = f"GRANT USAGE ON SCHEMA ingestd TO {to}; GRANT {tables} TO {to};"
        yield Finding(State.FAIL, "ledger", "no privilege on the tables of schema ingestd", grant)
    elif may_create_tables if schema_exists else may_create:
        yield Finding(State.OK, "ledger", "schema ingestd may be created")
    else:
        grant = (
            f"ALTER SCHEMA ingestd OWNER TO {to};" if schema_exists else f"GRANT CREATE ON DATABASE {quoted} TO {to};"
        )
        yield Finding(State.FAIL, "ledger", "no privilege to create schema ingestd and its tables", grant)


def _ledger_version(connection: Connection) -> Finding:
    """Whether the ledger is complete, or can be completed: an older version may have made it."""
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        ddl = what_lacks(cursor)
        if not ddl:
            return Finding(State.OK, "ledger", "schema ingestd is there and may be written")
        try:
            make_ledger(cursor, connection.info.dbname)
        except Halt:
            return Finding(State.FAIL, "ledger", "an older version made it, and this role may not complete it", ddl)
    return Finding(State.OK, "ledger", "an older version made it; the next start adds what it lacks")


def _examine_table(connection: Connection, pipeline: Pipeline) -> Iterator[Finding]:
    """The table as it is, or, with create = true, as it would be: made, checked and rolled back."""
    subject = f"table {pipeline.table.name}"
    schema = Schema.of(column for column in pipeline.column if column.stored)
    with connection.transaction(force_rollback=True):
        missing = connection.execute(_SQL["table_missing"], _parts(pipeline.table.name)).fetchone() == (True,)
        made = missing and pipeline.table.create
        if made:
            refusal = _try_to_create(connection, pipeline, schema)
            if refusal:
                yield Finding(State.FAIL, subject, *refusal)
                return
        problems = check_table(connection, pipeline, schema)
        yield from _examine_memory(connection, pipeline)
        yield from (Finding(State.FAIL, subject, problem.message, problem.ddl) for problem in problems)
        yield from (Finding(State.WARN, subject, note.message) for note in table_notes(connection, pipeline))
        if not problems:
            yield Finding(State.OK, subject, "will be created" if made else f"fits, {len(schema.columns)} columns")


def _examine_memory(connection: Connection, pipeline: Pipeline) -> Iterator[Finding]:
    """Whether the memory of hard deletes was made for this key and version."""
    if pipeline.table.delete is None or pipeline.table.delete.how != "hard":
        return
    from ingestd.sinks.postgres.upsert import target_of
    from ingestd.sinks.postgres.upsert_sql import memory_of
    from ingestd.sinks.postgres.versions import memory_misfit

    memory = memory_of(target_of(pipeline))
    with connection.cursor() as cursor:
        if memory and (misfit := memory_misfit(cursor, memory_name(pipeline), memory)):
            yield Finding(State.FAIL, "memory of deletes", *misfit)


def _try_to_create(connection: Connection, pipeline: Pipeline, schema: Schema) -> tuple[str, str] | None:
    """Why the table cannot be made, and what to do; None when it could be."""
    table = pipeline.table
    required = [column.name for column in pipeline.column if column.required]
    statement = Path(table.ddl).read_bytes() if table.ddl else create_table(table, schema, required)
    in_schema = _parts(table.name)["schema"] or "public"
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege as error:
        quoted, role = sql.Identifier(in_schema).as_string(), sql.Identifier(connection.info.user).as_string()
        return f"no privilege to create it: {_first_line(error)}", f"GRANT CREATE ON SCHEMA {quoted} TO {role};"
    except psycopg.errors.InvalidSchemaName:
        if _parts(table.name)["schema"] is None:
            return "no schema of the search path exists", f'name the schema: "schema.{table.name}", or mend search_path'
        return f"schema {in_schema} does not exist", f"CREATE SCHEMA {sql.Identifier(in_schema).as_string()};"
    except psycopg.Error as error:
        return f"cannot be created: {_first_line(error)}", f"mend {table.ddl}" if table.ddl else "mend the columns"
    return None


def _parts(name: str) -> dict[str, str | None]:
    schema, _, table = name.rpartition(".")
    return {"schema": schema or None, "table": table}


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
