"""The gate in PostgreSQL: a table of seen keys, filled in the transaction of the rows. Knows no Kafka, no cursors."""

from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from numpy.typing import NDArray
from psycopg import sql

from ingestd.batch import Rows, dead_letter
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.rows import places
from ingestd.schema.postgres import Schema
from ingestd.sinks.gated import FirstOfKeys, first_of_keys
from ingestd.sinks.postgres.staging import Staging
from ingestd.stores.faults import RecordsRefused
from ingestd.stores.postgres.gate_check import (
    SEEN_AT,
    GateColumns,
    check_gate,
    create_gate,
    gate_columns,
    gate_key,
    gate_schema,
)
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import Transaction

_FORGET_STEP_KEYS = 5_000
_ROW = "ingestd_row"

MAX_KEY_BYTES = 2_600
"""Texts and bytes of one key. An index entry of PostgreSQL takes 2,704 bytes: found here, such a record costs nothing;
found by the database, the batch would be halved down to it."""


class _GateSql(Struct, frozen=True):
    setup: tuple[bytes, ...]
    copy: bytes
    admit: bytes
    """Gives how many keys are new and, when some are not, the row numbers of the new ones as big-endian int4."""
    lost: bytes | None
    """Gives the row numbers of those whose key another record brought; None: the table does not tell."""


class PostgresGate:
    """The gate of one pipeline; several pipelines may share its table."""

    def __init__(self, pipeline: cfg.Pipeline):
        assert pipeline.dedupe is not None
        self._pipeline = pipeline
        self._dedupe = pipeline.dedupe
        self._key = gate_key(pipeline.dedupe)
        self._columns: GateColumns | None = None
        self._sql: _GateSql | None = None
        self._encoder: Any = None
        self._staging = Staging()

    def attach(self, connection: psycopg.Connection[Any]) -> None:
        """Make or verify the table, and this session's staging. Commits.

        Raises: Halt naming every misfit with the DDL that mends it; psycopg.Error as it comes.
        """
        if self._staging.is_made(connection):
            return
        with connection.cursor() as cursor:
            if self._dedupe.create and gate_columns(connection, self._dedupe) is None:
                self._create(connection, cursor)
            self._verify(connection)
            self._columns = gate_columns(connection, self._dedupe)
            assert self._columns is not None
            written = gate_schema(self._pipeline, self._columns)
            staged = _staged_schema(written)
            self._encoder = staged.encoder()
            self._sql = _gate_sql(self._dedupe, self._columns, staged)
            for statement in self._sql.setup:
                cursor.execute(statement)
            connection.commit()
        self._staging.made(connection)

    def _create(self, connection: psycopg.Connection[Any], cursor: psycopg.Cursor[Any]) -> None:
        cursor.execute(SQL["schema_lock"])  # several workers start together
        if gate_columns(connection, self._dedupe) is None:
            for statement in create_gate(self._pipeline):
                cursor.execute(statement.encode())
        connection.commit()

    def _verify(self, connection: psycopg.Connection[Any]) -> None:
        problems = check_gate(connection, self._pipeline)
        if problems:
            said = "; ".join(f"{p.message}: {p.ddl}" if p.ddl else p.message for p in problems)
            raise Halt(f"gate {self._dedupe.table} does not fit pipeline {self._pipeline.name}: {said}")

    def admit(self, rows: Rows, tx: Transaction) -> pa.BooleanArray:
        """For each row whether its key is new. Waits for transactions that bring the same keys at this moment."""
        assert self._sql is not None and self._columns is not None, "attach() comes first"
        if not rows.records:
            return pa.array([], pa.bool_())
        self._refuse_long(rows)
        first = first_of_keys(rows, self._key)
        cursor: psycopg.Cursor[Any] = tx.cursor
        with cursor.copy(self._sql.copy) as copy:
            for piece in self._encoder(self._staged(first)):
                copy.write(piece)
        count = len(first.positions)
        found = cursor.execute(
            self._sql.admit, {"topic": self._pipeline.topic, "count": count}, prepare=True, binary=True
        ).fetchone()
        assert found is not None, "an aggregate has a row"
        added, numbers = found
        chosen = np.arange(count) if added == count else np.frombuffer(numbers or b"", ">i4").astype(np.int64)
        return first.mask(len(rows.records), chosen)

    def lost(self, rows: Rows, tx: Transaction) -> NDArray[np.bool_]:
        """For each row, committed before, whether another record came first with its key."""
        assert self._sql is not None and self._sql.lost is not None, "attach() comes first, and refuses such a table"
        count = len(rows.records)
        lost = np.zeros(count, np.bool_)
        if count:
            all_rows = FirstOfKeys(
                rows.columns.select(list(self._key)), np.arange(count, dtype=np.int64), *places(rows)
            )
            cursor: psycopg.Cursor[Any] = tx.cursor
            with cursor.copy(self._sql.copy) as copy:
                for piece in self._encoder(self._staged(all_rows)):
                    copy.write(piece)
            found = cursor.execute(self._sql.lost, {"topic": self._pipeline.topic}, binary=True).fetchone()
            lost[np.frombuffer((found and found[0]) or b"", ">i4")] = True
        return lost

    def _refuse_long(self, rows: Rows) -> None:
        """Raises: RecordsRefused with the records whose key the index cannot take."""
        texts = [column for column in map(rows.columns.column, self._key) if _is_text(column.type)]
        if not texts:
            return
        size = np.zeros(len(rows.records), np.int64)
        for column in texts:
            size += pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        if size.max() > MAX_KEY_BYTES:
            reason = f"key of the gate has more than {MAX_KEY_BYTES:,} bytes"
            long = np.flatnonzero(size > MAX_KEY_BYTES).tolist()
            raise RecordsRefused([dead_letter(rows.records[n], "write", self._key[0], reason, "54000") for n in long])

    def _staged(self, first: FirstOfKeys) -> pa.RecordBatch:
        columns = dict(zip(self._key, first.columns.columns, strict=True))
        if self._columns is not None and self._columns.place:
            columns["partition"], columns["offset"] = pa.array(first.partitions), pa.array(first.offsets)
        columns[_ROW] = pa.array(np.arange(len(first.positions), dtype=np.int32))
        return pa.RecordBatch.from_pydict(columns)


class _Staged(Struct, frozen=True):
    name: str
    type: str


def _staged_schema(written: Schema) -> Schema:
    """The topic is the same for every row; the row's number finds it again."""
    columns = [_Staged(column.name, column.type.name) for column in written.columns if column.name != "topic"]
    return Schema.of([*columns, _Staged(_ROW, "int4")])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _gate_sql(dedupe: cfg.Dedupe, columns: GateColumns, staged: Schema) -> _GateSql:
    table, staging = sql.Identifier(*dedupe.table.split(".")), sql.SQL("pg_temp.ingestd_gate")
    key = sql.SQL(", ").join(map(sql.Identifier, columns.key))
    written = [sql.Identifier(column.name) for column in staged.columns if column.name != _ROW]
    values: list[sql.Composable] = [sql.SQL("s.") + name for name in written]
    if columns.place:
        written.append(sql.Identifier("topic"))
        values.append(sql.SQL("%(topic)s::text"))
    if columns.seen_at:
        written.append(sql.Identifier(SEEN_AT))
        values.append(sql.SQL("now()"))
    declared = sql.SQL(", ").join(
        sql.SQL("{} " + column.type.pg_type).format(sql.Identifier(column.name)) for column in staged.columns
    )
    # The numbers are only looked for when a key was there before: with new keys the join costs nothing.
    admit = sql.SQL(
        "WITH new AS (INSERT INTO {table} ({written}) SELECT {values} FROM {staging} AS s ORDER BY s.ingestd_row"
        " ON CONFLICT ({key}) DO NOTHING RETURNING {key}) "
        "SELECT added, CASE WHEN added < %(count)s AND added > 0 THEN"
        " (SELECT string_agg(int4send(s.ingestd_row), ''::bytea) FROM {staging} AS s JOIN new USING ({key})) END"
        " FROM (SELECT count(*) AS added FROM new) AS counted"
    )
    lost = sql.SQL(
        "SELECT string_agg(int4send(s.ingestd_row), ''::bytea) FROM {staging} AS s JOIN {table} AS g USING ({key})"
        ' WHERE (g.topic, g.partition, g."offset") IS DISTINCT FROM (%(topic)s::text, s.partition, s."offset")'
    )
    joined = sql.SQL(", ")
    return _GateSql(
        setup=(
            b"DROP TABLE IF EXISTS pg_temp.ingestd_gate",
            sql.SQL("CREATE TEMPORARY TABLE ingestd_gate ({}) ON COMMIT DELETE ROWS").format(declared).as_bytes(),
        ),
        copy=(sql.SQL("COPY ") + staging + sql.SQL(" FROM STDIN (FORMAT binary)")).as_bytes(),
        admit=admit.format(
            table=table, written=joined.join(written), values=joined.join(values), staging=staging, key=key
        ).as_bytes(),
        lost=lost.format(table=table, staging=staging, key=key).as_bytes() if columns.place else None,
    )


def forget_keys(connection: psycopg.Connection[Any], pipeline: cfg.Pipeline, older_than_secs: float, limit: int) -> int:
    """How many keys seen longer ago than `older_than_secs` were forgotten: at most `limit`, in steps that commit.

    Keys that another session holds are left for the next time, so it waits for nobody. A repeat of a forgotten key
    is new. Raises: psycopg.Error as it comes.
    """
    assert pipeline.dedupe is not None
    columns = gate_columns(connection, pipeline.dedupe)
    connection.commit()
    if columns is None or not columns.seen_at:
        return 0
    table = sql.Identifier(*pipeline.dedupe.table.split("."))
    key = sql.SQL(", ").join(map(sql.Identifier, columns.key))
    same = sql.SQL(" AND ").join(sql.SQL("g.{0} = old.{0}").format(sql.Identifier(name)) for name in columns.key)
    statement = sql.SQL(
        "WITH old AS (SELECT {key} FROM {table} WHERE seen_at < now() - make_interval(secs => %(secs)s)"
        " ORDER BY seen_at LIMIT %(step)s FOR UPDATE SKIP LOCKED)"
        " DELETE FROM {table} AS g USING old WHERE {same}"
    ).format(key=key, table=table, same=same)
    forgotten = 0
    while forgotten < limit:
        step = min(_FORGET_STEP_KEYS, limit - forgotten)
        deleted = connection.execute(statement, {"secs": older_than_secs, "step": step}).rowcount
        connection.commit()
        forgotten += deleted
        if deleted < step:
            break
    return forgotten
