"""The table sink: rows into one PostgreSQL table, by the way that the ladder says. Knows no Kafka and no cursors."""

from typing import Any

import psycopg

from ingestd.batch import Counts, DeadLetter, Outcome, Rows, dead_letter
from ingestd.config import options as cfg
from ingestd.sinks.ladder import Way
from ingestd.sinks.postgres.encode import Encoded, encode
from ingestd.sinks.postgres.staging import Staging
from ingestd.sinks.postgres.table_sql import TableSql, table_identifier, table_sql
from ingestd.sinks.postgres.target import make_or_check, stored_schema
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import Transaction


class TableSink:
    """Writes encoded batches; `attach` once per connection, then `write` inside its transactions."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._schema = stored_schema(pipeline)
        self._encoder = self._schema.encoder()
        self._sql: TableSql | None = None
        self._staging = Staging()

    def attach(self, connection: psycopg.Connection[Any]) -> None:
        """Make or verify the table, and this session's staging. Commits.

        Raises: Halt naming every misfit with the DDL that mends it; psycopg.Error as it comes.
        """
        if self._staging.is_made(connection):
            return
        with connection.cursor() as cursor:
            make_or_check(connection, self._pipeline, self._schema)
            table = self._pipeline.table
            direct = [column.name for column in self._schema.columns if column.type.direct]
            wanted = {"table": table_identifier(table.name).as_string(), "columns": direct}
            checks = cursor.execute(SQL["check_constraints"], wanted).fetchall()
            self._sql = table_sql(table, self._schema, checks)
            for statement in self._sql.setup:
                cursor.execute(statement)
            connection.commit()
        self._staging.made(connection)

    def ways(self) -> tuple[Way, ...]:
        """The ways into this table, fastest first."""
        assert self._sql is not None, "attach() comes first"
        ways = [Way.LOOPED]
        if self._sql.screen:
            ways.append(Way.SCREENED)
        direct = self._schema.direct and self._pipeline.table.direct
        if self._pipeline.table.mode == "insert" or not direct:
            ways.append(Way.STAGED)
        if direct:
            ways.append(Way.DIRECT)
        if direct and self._sql.screen:
            ways.append(Way.SIFTED)
        return tuple(sorted(ways))

    def prepare(self, rows: Rows) -> Encoded:
        """`rows` sorted by key and encoded; no database."""
        return encode(rows, self._pipeline.table.key, self._encoder, self._schema.names)

    def write(self, batch: Encoded, tx: Transaction, way: Way) -> Outcome:
        """What became of the rows of `batch`; nothing is visible unless `tx` commits."""
        assert self._sql is not None, "attach() comes first"
        if not batch.count:
            return Outcome(Counts(), [])
        cursor, statements = tx.cursor, self._sql
        numbered = way > Way.STAGED or (way is Way.STAGED and batch.repeats)
        staging = statements.copy_numbered if numbered else statements.copy_staging
        if way is Way.LOOPED:
            staging = statements.copy_indexed
        copied = copy_into(cursor, statements.copy_table if way is Way.DIRECT else staging, batch.pieces)
        dead: list[DeadLetter] = []
        if way is Way.DIRECT:
            inserted = copied
        elif way is Way.STAGED:
            insert = statements.insert_in_order if numbered else statements.insert
            inserted = cursor.execute(insert, prepare=True).rowcount
        elif way is Way.SIFTED:
            refused = self._screen(batch, cursor, statements, dead)
            inserted = copy_into(cursor, statements.copy_table, batch.without(refused))
        elif way is Way.SCREENED:
            assert statements.insert_screened
            self._screen(batch, cursor, statements, dead)
            inserted = cursor.execute(statements.insert_screened, prepare=True).rowcount
        else:
            inserted = self._write_looped(batch, cursor, statements, dead)
        return Outcome(Counts(inserted=inserted, duplicates=batch.count - len(dead) - inserted), dead)

    def _screen(
        self, batch: Encoded, cursor: psycopg.Cursor[Any], statements: TableSql, dead: list[DeadLetter]
    ) -> list[int]:
        """The numbers of the staged rows that a CHECK refuses; their dead letters are added to `dead`."""
        assert statements.screen
        refused = cursor.execute(statements.screen, prepare=True).fetchall()
        for n, name in refused:
            reason = f'row violates check constraint "{name}"'
            dead.append(dead_letter(batch.record(n), "write", None, reason, "23514"))
        return [n for n, _ in refused]

    def _write_looped(
        self, batch: Encoded, cursor: psycopg.Cursor[Any], statements: TableSql, dead: list[DeadLetter]
    ) -> int:
        cursor.execute(statements.loop)
        refused = cursor.execute("SELECT * FROM pg_temp.ingestd_refused ORDER BY n").fetchall()
        (_, _, inserted, _, _), *rows = refused
        for n, sqlstate, message, column, constraint in rows:
            reason = f"{message} ({constraint})" if constraint and constraint not in message else message
            dead.append(dead_letter(batch.record(n), "write", column or None, reason, sqlstate))
        return int(inserted)


def copy_into(cursor: psycopg.Cursor[Any], statement: bytes, pieces: list[bytes]) -> int:
    """How many rows a COPY of these pieces wrote: a trigger may keep some out of a table."""
    if not pieces:
        return 0
    with cursor.copy(statement) as copy:
        for piece in pieces:
            copy.write(piece)
    return cursor.rowcount
