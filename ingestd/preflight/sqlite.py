"""What of an SQLite file a start would meet: directory, file, ledger, tables. Every transaction here is rolled back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ingestd.config.options import Config, Pipeline
from ingestd.config.store_url import sqlite_path
from ingestd.preflight.findings import Finding, State
from ingestd.sinks.sqlite.gate import check_gate, create_gate
from ingestd.sinks.sqlite.table import split_statements
from ingestd.stores.problem import Problem
from ingestd.stores.sqlite.file import begin, connect, ledger_tables, old_library
from ingestd.stores.sqlite.table_check import (
    check_table,
    create_table,
    find_columns,
    stored_columns,
    table_notes,
)

_WAIT_SECS = 2.0


def examine_sqlite(config: Config) -> Iterator[Finding]:
    """Findings about the file and the tables of all pipelines. A file that is missing is not made."""
    path = sqlite_path(config.store.url)
    folder = Path(path).absolute().parent
    if problem := old_library():
        yield Finding(State.FAIL, "database", problem, "use a Python with a newer one")
        return
    if not folder.is_dir():
        yield Finding(State.FAIL, "database", f"{path}: the directory {folder} does not exist", f"mkdir -p {folder}")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        said = f"{path}: no permission to write in {folder}, where SQLite puts its log beside the file"
        yield Finding(State.FAIL, "database", said, f"chown or chmod {folder}")
        return
    is_new = not os.path.exists(path)
    if not is_new and not os.access(path, os.R_OK | os.W_OK):
        yield Finding(State.FAIL, "database", f"{path}: no permission to read and write it", f"chown or chmod {path}")
        return
    try:
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None) if is_new else _open(path)) as opened:
            yield from _examine_file(opened, path, is_new)
            yield from _examine_tables(opened, config)
    except sqlite3.Error as error:
        yield Finding(State.FAIL, "database", f"{path}: {error}", _mend(error))


def _open(path: str) -> sqlite3.Connection:
    return connect(path, _WAIT_SECS, "rw")


def _mend(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another process holds it for itself: end that one, and check again"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "name another file in store.url, or restore this one"
    return "mend that and check again"


def _examine_file(connection: sqlite3.Connection, path: str, is_new: bool) -> Iterator[Finding]:
    version = f"SQLite {sqlite3.sqlite_version}"
    if is_new:
        yield Finding(State.OK, "database", f"{path} will be created, {version}")
        yield Finding(State.OK, "ledger", "its tables will be created")
        return
    begin(connection)
    connection.execute("ROLLBACK")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    said = "" if mode == "wal" else f"; journal_mode is {mode} and will be wal"
    yield Finding(State.OK, "database", f"{path} may be written, {version}{said}")
    there = "are there" if ledger_tables(connection) else "will be created"
    yield Finding(State.OK, "ledger", f"its tables {there}")


def _examine_tables(connection: sqlite3.Connection, config: Config) -> Iterator[Finding]:
    """The tables as they are, or, with create = true, as they would be: made, checked and rolled back."""
    begin(connection)
    try:
        for pipeline in config.pipeline:
            if pipeline.has_table():
                yield from _examine_table(connection, pipeline)
            if pipeline.dedupe is not None:
                yield from _examine_gate(connection, pipeline)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _examine_table(connection: sqlite3.Connection, pipeline: Pipeline) -> Iterator[Finding]:
    table = pipeline.table
    subject = f"table {table.name}"
    made = table.create and not find_columns(connection, table.name)
    if made:
        text = Path(table.ddl).read_text(encoding="utf-8") if table.ddl else f"{create_table(pipeline)};"
        try:
            for statement in split_statements(text):
                connection.execute(statement)
        except sqlite3.Error as error:
            mend = f"mend {table.ddl}" if table.ddl else "mend the columns"
            yield Finding(State.FAIL, subject, f"cannot be created: {error}", mend)
            return
    problems = check_table(connection, pipeline)
    yield from _problems(subject, problems)
    yield from (Finding(State.WARN, subject, note.message) for note in table_notes(connection, pipeline))
    if not problems:
        fits = f"fits, {len(stored_columns(pipeline))} columns"
        yield Finding(State.OK, subject, "will be created" if made else fits)


def _examine_gate(connection: sqlite3.Connection, pipeline: Pipeline) -> Iterator[Finding]:
    assert pipeline.dedupe is not None
    subject = f"gate {pipeline.dedupe.table}"
    made = pipeline.dedupe.create and not find_columns(connection, pipeline.dedupe.table)
    for statement in create_gate(pipeline) if made else ():
        connection.execute(statement)
    problems = check_gate(connection, pipeline)
    yield from _problems(subject, problems)
    if not problems:
        yield Finding(State.OK, subject, "will be created" if made else "fits")


def _problems(subject: str, problems: list[Problem]) -> Iterator[Finding]:
    return (Finding(State.FAIL, subject, problem.message, problem.ddl) for problem in problems)
