"""The upsert sink: one row for each key of a PostgreSQL table, from its latest record. Knows no Kafka and no cursors.

In one transaction it writes one batch: staging is emptied by COMMIT.
"""

from typing import Any

import psycopg
from msgspec import structs

from ingestd.batch import Counts, Outcome, Rows, dead_letter
from ingestd.config import options as cfg
from ingestd.config.topics import memory_name
from ingestd.rows import Flags
from ingestd.schema.postgres import SchemaColumn
from ingestd.schema.types import parse_type
from ingestd.sinks.ladder import Way
from ingestd.sinks.postgres.staging import Staging
from ingestd.sinks.postgres.table import copy_into
from ingestd.sinks.postgres.table_sql import copy_statement, table_identifier
from ingestd.sinks.postgres.target import make_or_check, stored_schema
from ingestd.sinks.postgres.upsert_rows import Changes, Encoders, without_rows
from ingestd.sinks.postgres.upsert_sql import CHAIN, CHANGES, INDEXED, Target, UpsertSql, memory_of, upsert_sql
from ingestd.sinks.postgres.versions import make_memory
from ingestd.stores.faults import RecordsRefused, RowFault, RowsRefused
from ingestd.stores.store import Transaction

_NOT_NULL = (
    "SELECT attname::text FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull"
    " AND NOT attisdropped"
)


class UpsertSink:
    """Writes changes; `attach` once per connection, then `write` once in each of its transactions."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self._target = target_of(pipeline)
        self._encoders = Encoders(self._target)
        self._sql: UpsertSql | None = None
        self._staging = Staging()
        self._form = "plain"
        """Of the last batch: the next one is encoded in it before its way is known."""
        self._sifted = False
        """Whether the last batch lost its refused records: what is left need not go row by row."""

    def attach(self, connection: psycopg.Connection[Any]) -> None:
        """Make or verify the table, the memory of hard deletes, and this session's staging. Commits.

        Raises: Halt naming every misfit with the DDL that mends it; psycopg.Error as it comes.
        """
        if self._staging.is_made(connection):
            return
        make_or_check(connection, self._pipeline, self._target.stored)
        with connection.cursor() as cursor:
            self._target = self._looked_up(cursor)
            memory = memory_of(self._target)
            if memory:
                follows = self._pipeline.cdc is not None and self._pipeline.cdc.columns == "from_events"
                table = table_identifier(self._target.table.name)
                make_memory(cursor, memory_name(self._pipeline), memory, table, widens=follows)
            self._sql = upsert_sql(self._target)
            for statement in self._sql.setup:
                cursor.execute(statement)
            connection.commit()
        self._staging.made(connection)

    def _looked_up(self, cursor: psycopg.Cursor[Any]) -> Target:
        """The target with what only the catalogue tells."""
        table = (table_identifier(self._target.table.name).as_string(),)
        needed = {row[0] for row in cursor.execute(_NOT_NULL, table).fetchall()}
        needed |= {column.name for column in self._pipeline.column if column.required}
        kind = cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = %s::regclass", table).fetchone()
        return structs.replace(
            self._target,
            needed=tuple(name for name in self._target.stored.names if name in needed),
            partitioned=bool(kind and kind[0]),
        )

    def ways(self) -> tuple[Way, ...]:
        """The ways into this table, fastest first."""
        direct = self._target.stored.direct and self._target.table.direct and not self._target.hard
        return (Way.DIRECT, Way.STAGED, Way.LOOPED) if direct else (Way.STAGED, Way.LOOPED)

    def prepare(self, rows: Rows) -> Changes:
        """`rows` folded, and encoded in the form that the last batch went in; no database."""
        changes = self._encoders.fold(rows)
        if changes.whole and changes.count and self._form != "full":
            self._encoders.encode(changes, self._form)
        return changes

    def write(self, batch: Changes, tx: Transaction, way: Way) -> Outcome:
        """What became of the rows of `batch`; nothing is visible unless `tx` commits.

        Raises: RecordsRefused for rows that the table refuses, so that an earlier record of their key gets its
        place; RowsRefused, to be split, when it cannot be told which of the records of a change is at fault.
        """
        assert self._sql is not None, "attach() comes first"
        counts = Counts(folded=batch.folded.folded)
        if not batch.count:
            return Outcome(counts, [])
        fresh = batch.fresh(tx.replay_below)
        if way is Way.DIRECT and self._insertable(batch):
            self._form = "table"
            target = self._target
            statement = copy_statement(table_identifier(target.table.name), self._encoders.names("table"))
            # Fewer when a trigger of the table keeps rows out.
            counts.inserted = copy_into(tx.cursor, statement, self._encoders.encode(batch, "table"))
            counts.stale = batch.count - counts.inserted
            return Outcome(counts, [])
        looped = way is Way.LOOPED and not self._sifted
        self._sifted = False
        alike = bool(fresh.all()) or not (looped or fresh.any())
        whole = batch.whole and alike and not (self._target.hard or self._target.partitioned)
        self._form = "plain" if whole else "full"
        if not whole:
            batch, counts.stale = self._stage_locked(batch, fresh, tx)
            counts.folded = batch.folded.folded
            fresh = batch.fresh(tx.replay_below)
        if not batch.count:
            return Outcome(counts, [])
        if whole or looped:
            self._stage(batch, fresh, tx, self._form, indexed=looped)
        if looped:
            self._loop(batch, tx, whole)
        else:
            self._execute(tx, whole, bool(fresh.any()))
        return self._outcome(batch, tx, counts)

    def _insertable(self, batch: Changes) -> bool:
        """Whether every change, if its key is new, makes a row."""
        deletes = batch.deletes
        if not deletes.any():
            return True
        columns = batch.folded.rows.columns
        return not any(
            (columns.column(name).is_null().to_numpy(zero_copy_only=False) & deletes).any()
            for name in self._target.needed
        )

    def _stage(self, batch: Changes, fresh: Flags, tx: Transaction, form: str, indexed: bool = False) -> None:
        statement = copy_statement(INDEXED if indexed else CHANGES, self._encoders.names(form))
        copy_into(tx.cursor, statement, self._encoders.encode(batch, form, fresh))

    def _stage_locked(self, batch: Changes, fresh: Flags, tx: Transaction) -> tuple[Changes, int]:
        """The staged changes without records that are older than what is stored, and how many those are.

        A change put together from several records is right only when all of them are later than the stored row; the
        rows are locked before they are read. A key that has no row yet cannot be locked: records of one key in
        several partitions may then be merged as if the other worker's did not exist.
        """
        assert self._sql is not None
        self._stage(batch, fresh, tx, "full")
        chained = bool(batch.folded.chained.any())
        if chained or not self._target.hard:
            tx.cursor.execute(self._sql.lock)
        if not chained:
            return batch, 0
        _, pieces = self._encoders.chained(batch, tx.replay_below)
        copy_into(tx.cursor, copy_statement(CHAIN, self._encoders.names("chain")), pieces)
        stale = [row[0] for row in tx.cursor.execute(self._sql.stale).fetchall()]
        if not stale:
            return batch, 0
        rest = self._encoders.fold(without_rows(batch.rows, stale))
        tx.cursor.execute("DELETE FROM pg_temp.ingestd_changes")
        if rest.count:
            self._stage(rest, rest.fresh(tx.replay_below), tx, "full")
        return rest, len(stale)

    def _execute(self, tx: Transaction, whole: bool, fresh: bool) -> None:
        assert self._sql is not None
        if whole:
            tx.cursor.execute(self._sql.plain if fresh else self._sql.plain_replayed, prepare=True)
            return
        for statement in self._sql.merge:
            # Not prepared: a plan made when the table was empty would be kept when it is large.
            tx.cursor.execute(statement, prepare=False)

    def _loop(self, batch: Changes, tx: Transaction, whole: bool) -> None:
        """Row by row where a block is refused; raises what was refused."""
        assert self._sql is not None
        tx.cursor.execute(self._sql.loop_plain if whole else self._sql.loop_merge)
        refused = tx.cursor.execute("SELECT * FROM pg_temp.ingestd_upsert_refused ORDER BY n").fetchall()
        dead = []
        for n, sqlstate, message, column, constraint in refused:
            if not batch.folded.chained[n]:
                reason = f"{message} ({constraint})" if constraint and constraint not in message else message
                dead.append(dead_letter(batch.record(n), "write", column or None, reason, sqlstate))
        if dead:
            self._sifted = len(dead) == len(refused)
            raise RecordsRefused(dead)
        if refused:
            _, sqlstate, message, *_ = refused[0]
            raise RowsRefused(RowFault(sqlstate, message, at_commit=True))

    def _outcome(self, batch: Changes, tx: Transaction, counts: Counts) -> Outcome:
        query = "SELECT fate, sum(n)::bigint FROM pg_temp.ingestd_fates GROUP BY fate"
        fates = dict(tx.cursor.execute(query, prepare=True).fetchall())
        counts.inserted = fates.get("inserted", 0)
        counts.updated = fates.get("updated", 0)
        counts.deleted = fates.get("deleted", 0)
        counts.stale += batch.count - counts.inserted - counts.updated - counts.deleted
        return Outcome(counts, [])


def target_of(pipeline: cfg.Pipeline) -> Target:
    """What the statements for `pipeline` are about, as far as the configuration tells."""
    stored, table = stored_schema(pipeline), pipeline.table
    declared = {column.name: column for column in pipeline.column}
    wanted = (table.version,) if isinstance(table.version, str) else table.version
    versions = () if wanted == ("offset",) else wanted
    soft = table.delete is not None and table.delete.how == "soft"
    kept = tuple(column.name for column in pipeline.column if column.keep_when_absent)
    return Target(
        table=table,
        pipeline=memory_name(pipeline),
        topic=pipeline.topic,
        stored=stored,
        versions=tuple(SchemaColumn(name, parse_type(declared[name].type)) for name in versions),
        optional=tuple(n for n in stored.names if n not in (*table.key, *versions) and (soft or n in kept)),
        keep=kept,
        needed=(),
        partitioned=False,
    )
