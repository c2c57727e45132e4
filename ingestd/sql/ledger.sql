-- Statements of the ledger. Each begins with a line "-- name: x"; stores/statements.py reads them.

-- name: schema_exists
-- True when the ledger's tables are there: then no CREATE privilege is needed.
SELECT to_regclass('ingestd.cursors') IS NOT NULL AND to_regclass('ingestd.dead_letters') IS NOT NULL

-- name: schema_lock
-- Two workers that start together must not both create the schema: CREATE .. IF NOT EXISTS is not race-free.
SELECT pg_advisory_xact_lock(7310578114)

-- name: has_schema
SELECT to_regnamespace('ingestd') IS NOT NULL

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS ingestd

-- name: ledger_columns
-- What is there of the ledger, for a ledger that an older version made. Needs no privilege on the tables.
SELECT c.relname, a.attname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = 'ingestd' AND c.relname = ANY(%(tables)s) AND a.attnum > 0 AND NOT a.attisdropped

-- name: create_cursors
-- One row per sink group and partition; next_offset is the next one to read. fillfactor keeps every update on its page (HOT).
-- range_start to range_end is what was committed without a break since the last move by hand; the counters are of it.
-- One column a line: a ledger of an older version gets what it lacks by ALTER TABLE, from these very lines.
CREATE TABLE IF NOT EXISTS ingestd.cursors (
    pipeline      text NOT NULL,
    sink_group    text NOT NULL,
    topic         text NOT NULL,
    partition     integer NOT NULL,
    next_offset   bigint NOT NULL,
    epoch         bigint NOT NULL DEFAULT 0,
    backend_pid   integer,
    backend_start timestamptz,
    topic_id      text,
    replay_below  bigint NOT NULL DEFAULT 0,
    range_start   bigint,
    range_end     bigint,
    records       bigint NOT NULL DEFAULT 0,
    inserted      bigint NOT NULL DEFAULT 0,
    updated       bigint NOT NULL DEFAULT 0,
    stale         bigint NOT NULL DEFAULT 0,
    folded        bigint NOT NULL DEFAULT 0,
    duplicates    bigint NOT NULL DEFAULT 0,
    deleted       bigint NOT NULL DEFAULT 0,
    passed        bigint NOT NULL DEFAULT 0,
    dead          bigint NOT NULL DEFAULT 0,
    dead_again    bigint NOT NULL DEFAULT 0,
    redriven      bigint NOT NULL DEFAULT 0,
    dropped       bigint NOT NULL DEFAULT 0,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, sink_group, topic, partition)
) WITH (fillfactor = 20)

-- name: create_ranges
-- Finished ranges: one row for each move of a cursor that was no commit (reset, topic created again, SQL by hand).
-- dead_again: dead letters that replaced one of the same record, after a rewind.
CREATE TABLE IF NOT EXISTS ingestd.ranges (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline      text NOT NULL,
    sink_group    text NOT NULL,
    topic         text NOT NULL,
    topic_id      text,
    partition     integer NOT NULL,
    range_start   bigint NOT NULL,
    range_end     bigint NOT NULL,
    records       bigint NOT NULL DEFAULT 0,
    inserted      bigint NOT NULL DEFAULT 0,
    updated       bigint NOT NULL DEFAULT 0,
    stale         bigint NOT NULL DEFAULT 0,
    folded        bigint NOT NULL DEFAULT 0,
    duplicates    bigint NOT NULL DEFAULT 0,
    deleted       bigint NOT NULL DEFAULT 0,
    passed        bigint NOT NULL DEFAULT 0,
    dead          bigint NOT NULL DEFAULT 0,
    dead_again    bigint NOT NULL DEFAULT 0,
    redriven      bigint NOT NULL DEFAULT 0,
    dropped       bigint NOT NULL DEFAULT 0,
    ended_by      text NOT NULL,
    ended_at      timestamptz NOT NULL DEFAULT now()
)

-- name: create_dead_letters
-- One row per refused record; written in the transaction that moves the cursor over it.
-- forwarded_at, exported_at: when the keeper sent it to the topic and wrote it to Parquet, where that is asked for.
CREATE TABLE IF NOT EXISTS ingestd.dead_letters (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline     text NOT NULL,
    sink_group   text NOT NULL,
    topic        text NOT NULL,
    topic_id     text NOT NULL,
    partition    integer NOT NULL,
    "offset"     bigint NOT NULL,
    record_key   bytea,
    payload      bytea,
    headers      jsonb,
    record_time  timestamptz,
    stage        text NOT NULL,
    column_name  text,
    reason       text NOT NULL,
    sqlstate     text,
    dead_at      timestamptz NOT NULL DEFAULT now(),
    forwarded_at timestamptz,
    exported_at  timestamptz,
    UNIQUE (pipeline, sink_group, topic, topic_id, partition, "offset")
)

-- name: known_partitions
SELECT partition, epoch FROM ingestd.cursors WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s

-- name: read_cursors
SELECT partition, next_offset, epoch, backend_pid, backend_start, topic_id
FROM ingestd.cursors
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)

-- name: first_cursor
INSERT INTO ingestd.cursors (pipeline, sink_group, topic, partition, next_offset, topic_id, replay_below, range_start, range_end)
VALUES (%(pipeline)s, %(sink_group)s, %(topic)s, %(partition)s, %(next_offset)s, %(topic_id)s, %(next_offset)s,
        %(next_offset)s, %(next_offset)s)
ON CONFLICT DO NOTHING

-- name: claim
-- Raises the epoch, which makes every commit of the previous holder fail, and tells who that was.
WITH old AS (
    SELECT partition, epoch, backend_pid, backend_start
    FROM ingestd.cursors
    WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
    ORDER BY partition
    FOR UPDATE
)
UPDATE ingestd.cursors c
SET epoch = c.epoch + 1,
    backend_pid = pg_backend_pid(),
    backend_start = (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()),
    updated_at = now()
FROM old
WHERE c.pipeline = %(pipeline)s AND c.sink_group = %(sink_group)s AND c.topic = %(topic)s AND c.partition = old.partition
RETURNING c.partition, c.next_offset, c.epoch, c.topic_id, old.epoch, old.backend_pid, old.backend_start, c.replay_below,
          c.next_offset IS DISTINCT FROM c.range_end AS moved

-- name: archive_range
-- Ends the range of these cursors. A ledger of an older version counted, but knew no range.
INSERT INTO ingestd.ranges (pipeline, sink_group, topic, topic_id, partition, range_start, range_end, records, inserted, updated,
                            stale, folded, duplicates, deleted, passed, dead, dead_again, redriven, dropped, ended_by)
SELECT pipeline, sink_group, topic, topic_id, partition, coalesce(range_start, next_offset), coalesce(range_end, next_offset),
       records, inserted, updated, stale, folded, duplicates, deleted, passed, dead, dead_again, redriven, dropped,
       CASE WHEN range_end IS NULL THEN 'older version' ELSE %(ended_by)s END
FROM ingestd.cursors
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)
ORDER BY partition

-- name: begin_range
-- The next range begins where the cursor stands.
UPDATE ingestd.cursors
SET range_start = next_offset, range_end = next_offset, records = 0, inserted = 0, updated = 0, stale = 0, folded = 0,
    duplicates = 0, deleted = 0, passed = 0, dead = 0, dead_again = 0, redriven = 0, dropped = 0
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = ANY(%(partitions)s)

-- name: own_session
SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- name: terminate
-- Ends the previous holder's session when it still is that session: a client stopped in the middle of COPY keeps
-- its row locks, and no timeout of PostgreSQL ends it. Waits at most 5 s for it to be gone.
SELECT pid, pg_terminate_backend(pid, 5000)
FROM pg_stat_activity
WHERE pid = %(pid)s AND backend_start = %(start)s AND pid <> pg_backend_pid()

-- name: move_cursor
-- The last statement before COMMIT. No row changed: somebody else has the lease, or the range was written already.
UPDATE ingestd.cursors
SET next_offset = %(end)s,
    range_end = CASE WHEN range_end = %(start)s THEN %(end)s ELSE range_end END,
    replay_below = greatest(replay_below, %(end)s),
    records = records + %(records)s,
    inserted = inserted + %(inserted)s,
    updated = updated + %(updated)s,
    stale = stale + %(stale)s,
    folded = folded + %(folded)s,
    duplicates = duplicates + %(duplicates)s,
    deleted = deleted + %(deleted)s,
    passed = passed + %(passed)s,
    dead = dead + %(dead)s,
    dead_again = dead_again + %(dead_again)s,
    updated_at = now()
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset = %(start)s

-- name: insert_dead_letters
-- After a rewind the same record may be refused again: the newer reason replaces the older.
INSERT INTO ingestd.dead_letters (pipeline, sink_group, topic, topic_id, partition, "offset", record_key, payload, headers,
                                  record_time, stage, column_name, reason, sqlstate)
SELECT %(pipeline)s, %(sink_group)s, %(topic)s, %(topic_id)s, d.partition, d.at, d.record_key, d.payload, d.headers::jsonb,
       to_timestamp(nullif(d.time_ms, -1) / 1000.0), d.stage, d.column_name, d.reason, d.sqlstate
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[], %(keys)s::bytea[], %(payloads)s::bytea[], %(headers)s::text[],
            %(times_ms)s::bigint[], %(stages)s::text[], %(columns)s::text[], %(reasons)s::text[], %(sqlstates)s::text[])
     AS d(partition, at, record_key, payload, headers, time_ms, stage, column_name, reason, sqlstate)
ON CONFLICT (pipeline, sink_group, topic, topic_id, partition, "offset") DO UPDATE
SET record_key = excluded.record_key, payload = excluded.payload, headers = excluded.headers, record_time = excluded.record_time,
    stage = excluded.stage, column_name = excluded.column_name, reason = excluded.reason, sqlstate = excluded.sqlstate,
    dead_at = excluded.dead_at
RETURNING partition, xmax <> 0 AS again

-- name: dead_offsets
SELECT "offset" FROM ingestd.dead_letters
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND topic_id = %(topic_id)s
  AND partition = %(partition)s AND "offset" >= %(start)s AND "offset" < %(end)s

-- name: move_cursor_by_hand
-- The operator's decision; only while no worker holds the partition (checked by the caller under the row lock).
UPDATE ingestd.cursors
SET next_offset = %(next_offset)s, range_start = %(next_offset)s, range_end = %(next_offset)s, topic_id = coalesce(%(topic_id)s, topic_id),
    replay_below = CASE WHEN %(rebuild)s OR topic_id IS DISTINCT FROM coalesce(%(topic_id)s, topic_id)
                        THEN %(next_offset)s ELSE replay_below END,
    epoch = epoch + 1, backend_pid = NULL, backend_start = NULL, updated_at = now()
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = %(partition)s

-- name: holder
SELECT c.partition, c.next_offset, c.topic_id, a.pid IS NOT NULL AS held, a.client_addr::text, c.updated_at
FROM ingestd.cursors c
LEFT JOIN pg_stat_activity a ON a.pid = c.backend_pid AND a.backend_start = c.backend_start
WHERE c.pipeline = %(pipeline)s AND c.sink_group = %(sink_group)s AND c.topic = %(topic)s
ORDER BY c.partition

-- name: lock_cursors
SELECT partition FROM ingestd.cursors
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s
ORDER BY partition FOR UPDATE

-- name: check_constraints
-- CHECK constraints that staged rows answer as the table would: over columns that ingestd writes, in the database's
-- collation, not over the whole row; and none when a trigger may change the row before it is checked.
SELECT c.conname, pg_get_expr(c.conbin, c.conrelid)
FROM pg_constraint c
WHERE c.conrelid = %(table)s::regclass AND c.contype = 'c'
  AND coalesce(to_jsonb(c) ->> 'conenforced', 'true') = 'true'
  AND NOT EXISTS (
      SELECT FROM unnest(c.conkey) k
      LEFT JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k
      WHERE a.attname IS NULL OR a.attname <> ALL(%(columns)s)
         OR (a.attcollation <> 0 AND a.attcollation <> 'pg_catalog."default"'::regcollation))
  AND NOT EXISTS (
      SELECT FROM pg_trigger g
      WHERE (g.tgrelid = c.conrelid OR g.tgrelid IN (SELECT relid FROM pg_partition_tree(c.conrelid)))
        AND g.tgtype & 7 = 7 AND g.tgenabled <> 'D')  -- row, before, insert
  AND cardinality(c.conkey) > 0
ORDER BY c.conname
