"""The gate in SQLite: a table of seen keys, filled in the transaction of the rows. Knows no Kafka and no cursors.

Needed are the key columns and a unique index on exactly them; topic, partition, offset and seen_at are filled where
the table has them. There is one writer, so nobody else can bring a key at the same moment.
"""

import sqlite3
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestd.batch import Rows
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.schema.sqlite import sqlite_type
from ingestd.schema.types import parse_type
from ingestd.sinks.gated import first_of_keys
from ingestd.stores.problem import Problem
from ingestd.stores.sqlite.file import begin
from ingestd.stores.sqlite.table_check import (
    Found,
    column_problems,
    create_statement,
    find_columns,
    key_problems,
    names,
    quoted,
)
from ingestd.stores.store import Transaction

_BLOCK_ROWS = 64
_SEEN_AT = "seen_at"
_PLACE = {"topic": "text", "partition": "int4", "offset": "int8"}
_NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


class SqliteGate:
    """The gate of one pipeline; several pipelines may share its table."""

    def __init__(self, pipeline: cfg.Pipeline):
        assert pipeline.dedupe is not None
        self._pipeline = pipeline
        self._dedupe = pipeline.dedupe
        self._key = gate_key(pipeline.dedupe)
        declared = {column.name: column for column in pipeline.column}
        self._types = [sqlite_type(parse_type(declared[name].type)) for name in self._key]
        self._has: set[str] = set()
        self._connection: sqlite3.Connection | None = None

    def attach(self, connection: sqlite3.Connection) -> None:
        """Make or verify the table. Commits. Raises: Halt naming every misfit with the DDL that mends it."""
        if connection is self._connection:
            return
        if self._dedupe.create and not find_columns(connection, self._dedupe.table):
            begin(connection)
            for statement in create_gate(self._pipeline):
                connection.execute(statement)
            connection.execute("COMMIT")
        problems = check_gate(connection, self._pipeline)
        if problems:
            said = "; ".join(f"{p.message}: {p.ddl}" if p.ddl else p.message for p in problems)
            raise Halt(f"gate {self._dedupe.table} does not fit pipeline {self._pipeline.name}: {said}")
        self._has = {column.name.lower() for column in find_columns(connection, self._dedupe.table)}
        self._connection = connection

    def admit(self, rows: Rows, tx: Transaction) -> pa.BooleanArray:
        """For each row whether its key is new."""
        assert self._connection is not None, "attach() comes first"
        if not rows.records:
            return pa.array([], pa.bool_())
        first = first_of_keys(rows, self._key)
        count = len(first.positions)
        lists: list[list[Any]] = [kind.values(c) for kind, c in zip(self._types, first.columns.columns, strict=True)]
        written = list(self._key)
        for name, values in (
            ("topic", [self._pipeline.topic] * count),
            ("partition", first.partitions.tolist()),
            ("offset", first.offsets.tolist()),
        ):
            if name in self._has and name not in {key.lower() for key in self._key}:
                written.append(name)
                lists.append(values)
        values, width = list(chain.from_iterable(zip(*lists, strict=True))), len(lists)
        new = np.zeros(count, np.bool_)
        for at in range(0, count, _BLOCK_ROWS):
            step = min(_BLOCK_ROWS, count - at)
            new[at : at + step] = self._admit(tx.cursor, values[at * width : (at + step) * width], written, step)
        return first.mask(len(rows.records), np.flatnonzero(new))

    def lost(self, rows: Rows, tx: Transaction) -> NDArray[np.bool_]:
        """For each row, committed before, whether another record came first with its key."""
        same = " AND ".join(f"{quoted(name)} = ?" for name in self._key)
        query = (
            f"SELECT 1 FROM {quoted(self._dedupe.table)} WHERE {same}"
            ' AND (topic IS NOT ? OR "partition" IS NOT ? OR "offset" IS NOT ?)'
        )
        keys = [kind.values(rows.columns.column(name)) for kind, name in zip(self._types, self._key, strict=True)]
        lost = np.zeros(len(rows.records), np.bool_)
        for n, (record, *key) in enumerate(zip(rows.records, *keys, strict=True)):
            place = (self._pipeline.topic, record.partition(), record.offset())
            lost[n] = tx.cursor.execute(query, (*key, *place)).fetchone() is not None
        return lost

    def _admit(self, cursor: sqlite3.Cursor, values: list[Any], written: list[str], count: int) -> Any:
        """Which of these keys are new; they are seen now."""
        width = len(written)
        cursor.execute("SAVEPOINT ingestd_gate")
        added = cursor.execute(self._insert(written, count), values).rowcount
        if count > 1 and 0 < added < count:
            # SQLite does not say which.
            cursor.execute("ROLLBACK TO ingestd_gate")
            one = self._insert(written, 1)
            new = [cursor.execute(one, values[n * width : (n + 1) * width]).rowcount for n in range(count)]
        else:
            new = [int(added == count)] * count
        cursor.execute("RELEASE ingestd_gate")
        return new

    def _insert(self, written: list[str], count: int) -> str:
        columns, values = names(written), ", ".join("?" * len(written))
        if _SEEN_AT in self._has:
            columns, values = f"{columns}, {_SEEN_AT}", f"{values}, {_NOW}"
        rows = ", ".join([f"({values})"] * count)
        into = f"INSERT INTO {quoted(self._dedupe.table)} ({columns}) VALUES {rows}"
        return f"{into} ON CONFLICT ({names(self._key)}) DO NOTHING"


def gate_key(dedupe: cfg.Dedupe) -> tuple[str, ...]:
    """The columns of the gate's key."""
    return (dedupe.key,) if isinstance(dedupe.key, str) else dedupe.key


def create_gate(pipeline: cfg.Pipeline) -> list[str]:
    """The statements that make the table of a gate, and with retention the index on its times."""
    dedupe = pipeline.dedupe
    assert dedupe is not None
    declared = {column.name: column for column in pipeline.column}
    key = [cfg.Column(name=name, type=declared[name].type, required=True) for name in gate_key(dedupe)]
    place = [cfg.Column(name=name, type=kind) for name, kind in _PLACE.items() if name not in gate_key(dedupe)]
    seen_at = f"{_SEEN_AT} TEXT NOT NULL DEFAULT ({_NOW})"
    statements = [create_statement(dedupe.table, [*key, *place], gate_key(dedupe), [seen_at])]
    if dedupe.retention is not None:
        index = quoted(f"{dedupe.table}_seen_at")
        statements.append(f"CREATE INDEX IF NOT EXISTS {index} ON {quoted(dedupe.table)} ({_SEEN_AT})")
    return statements


def check_gate(connection: sqlite3.Connection, pipeline: cfg.Pipeline) -> list[Problem]:
    """Every reason why the gate of `pipeline` would not work; empty when it does."""
    dedupe = pipeline.dedupe
    assert dedupe is not None
    found: list[Found] = find_columns(connection, dedupe.table)
    if not found:
        said = f"table {dedupe.table} of the gate does not exist; write dedupe.create = true, or create it"
        return [Problem(said, " ".join(f"{statement};" for statement in create_gate(pipeline)))]
    declared, key = {column.name: column for column in pipeline.column}, gate_key(dedupe)
    problems = list(column_problems(dedupe.table, [declared[name] for name in key], found))
    by_name = {column.name.lower() for column in found}
    if not problems:
        problems += key_problems(connection, dedupe.table, key, found)
    if pipeline.lake is not None and (lacking := [name for name in _PLACE if name not in by_name]):
        said = f"{dedupe.table} has no {', '.join(lacking)}: behind it a lake cannot tell which record was let through"
        added = [f"ALTER TABLE {quoted(dedupe.table)} ADD COLUMN {quoted(name)};" for name in lacking]
        problems.append(Problem(said, " ".join(added)))
    if dedupe.retention is not None and _SEEN_AT not in by_name:
        said = f'{dedupe.table} has no column "{_SEEN_AT}", by which dedupe.retention goes'
        problems.append(Problem(said, f"ALTER TABLE {quoted(dedupe.table)} ADD COLUMN {_SEEN_AT} TEXT;"))
    return problems


def forget_keys(connection: sqlite3.Connection, pipeline: cfg.Pipeline, older_than_secs: float, limit: int) -> int:
    """How many keys seen longer ago than `older_than_secs` were forgotten, at most `limit`; one transaction.

    A repeat of a forgotten key is new. Raises: sqlite3.Error as it comes.
    """
    assert pipeline.dedupe is not None
    table = quoted(pipeline.dedupe.table)
    if _SEEN_AT not in {column.name.lower() for column in find_columns(connection, pipeline.dedupe.table)}:
        return 0
    old = f"SELECT rowid FROM {table} WHERE {_SEEN_AT} < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?) LIMIT ?"
    cursor = begin(connection)
    forgotten = cursor.execute(f"DELETE FROM {table} WHERE rowid IN ({old})", (f"-{older_than_secs} seconds", limit))
    count = int(forgotten.rowcount)
    cursor.execute("COMMIT")
    return count
