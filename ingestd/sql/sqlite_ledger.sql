-- Statements of the ledger in SQLite: the tables of sql/ledger.sql, in the file that holds the rows. Times are ISO-8601
-- text in UTC. Each begins with a line "-- name: x".

-- name: create_cursors
CREATE TABLE IF NOT EXISTS ingestd_cursors (
    pipeline      TEXT NOT NULL,
    sink_group    TEXT NOT NULL,
    topic         TEXT NOT NULL,
    partition     INTEGER NOT NULL,
    next_offset   INTEGER NOT NULL,
    epoch         INTEGER NOT NULL DEFAULT 0,
    backend_pid   INTEGER,
    backend_start TEXT,
    topic_id      TEXT,
    replay_below  INTEGER NOT NULL DEFAULT 0,
    range_start   INTEGER,
    range_end     INTEGER,
    records       INTEGER NOT NULL DEFAULT 0,
    inserted      INTEGER NOT NULL DEFAULT 0,
    updated       INTEGER NOT NULL DEFAULT 0,
    stale         INTEGER NOT NULL DEFAULT 0,
    folded        INTEGER NOT NULL DEFAULT 0,
    duplicates    INTEGER NOT NULL DEFAULT 0,
    deleted       INTEGER NOT NULL DEFAULT 0,
    passed        INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    dead_again    INTEGER NOT NULL DEFAULT 0,
    redriven      INTEGER NOT NULL DEFAULT 0,
    dropped       INTEGER NOT NULL DEFAULT 0,
    updated_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (pipeline, sink_group, topic, partition)
)

-- name: create_ranges
CREATE TABLE IF NOT EXISTS ingestd_ranges (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline      TEXT NOT NULL,
    sink_group    TEXT NOT NULL,
    topic         TEXT NOT NULL,
    topic_id      TEXT,
    partition     INTEGER NOT NULL,
    range_start   INTEGER NOT NULL,
    range_end     INTEGER NOT NULL,
    records       INTEGER NOT NULL DEFAULT 0,
    inserted      INTEGER NOT NULL DEFAULT 0,
    updated       INTEGER NOT NULL DEFAULT 0,
    stale         INTEGER NOT NULL DEFAULT 0,
    folded        INTEGER NOT NULL DEFAULT 0,
    duplicates    INTEGER NOT NULL DEFAULT 0,
    deleted       INTEGER NOT NULL DEFAULT 0,
    passed        INTEGER NOT NULL DEFAULT 0,
    dead          INTEGER NOT NULL DEFAULT 0,
    dead_again    INTEGER NOT NULL DEFAULT 0,
    redriven      INTEGER NOT NULL DEFAULT 0,
    dropped       INTEGER NOT NULL DEFAULT 0,
    ended_by      TEXT NOT NULL,
    ended_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)

-- name: create_dead_letters
CREATE TABLE IF NOT EXISTS ingestd_dead_letters (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline     TEXT NOT NULL,
    sink_group   TEXT NOT NULL,
    topic        TEXT NOT NULL,
    topic_id     TEXT NOT NULL,
    partition    INTEGER NOT NULL,
    "offset"     INTEGER NOT NULL,
    record_key   BLOB,
    payload      BLOB,
    headers      TEXT,
    record_time  TEXT,
    stage        TEXT NOT NULL,
    column_name  TEXT,
    reason       TEXT NOT NULL,
    sqlstate     TEXT,
    dead_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    forwarded_at TEXT,
    exported_at  TEXT,
    UNIQUE (pipeline, sink_group, topic, topic_id, partition, "offset")
)

-- name: known_partitions
SELECT partition, epoch, backend_pid, backend_start FROM ingestd_cursors
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic

-- name: first_cursor
INSERT INTO ingestd_cursors (pipeline, sink_group, topic, partition, next_offset, topic_id, replay_below, range_start, range_end)
VALUES (:pipeline, :sink_group, :topic, :partition, :next_offset, :topic_id, :next_offset, :next_offset, :next_offset)
ON CONFLICT DO NOTHING

-- name: claim
-- Raises the epoch, which makes every commit of the previous holder fail.
UPDATE ingestd_cursors
SET epoch = epoch + 1, backend_pid = :backend_pid, backend_start = :backend_start,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND partition = :partition
RETURNING partition, next_offset, epoch, topic_id, replay_below, next_offset IS NOT range_end AS moved

-- name: archive_range
-- Ends the range of this cursor. A ledger of an older version counted, but knew no range.
INSERT INTO ingestd_ranges (pipeline, sink_group, topic, topic_id, partition, range_start, range_end, records, inserted, updated,
                            stale, folded, duplicates, deleted, passed, dead, dead_again, redriven, dropped, ended_by)
SELECT pipeline, sink_group, topic, topic_id, partition, coalesce(range_start, next_offset), coalesce(range_end, next_offset),
       records, inserted, updated, stale, folded, duplicates, deleted, passed, dead, dead_again, redriven, dropped,
       CASE WHEN range_end IS NULL THEN 'older version' ELSE :ended_by END
FROM ingestd_cursors
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND partition = :partition

-- name: begin_range
-- The next range begins where the cursor stands.
UPDATE ingestd_cursors
SET range_start = next_offset, range_end = next_offset, records = 0, inserted = 0, updated = 0, stale = 0, folded = 0,
    duplicates = 0, deleted = 0, passed = 0, dead = 0, dead_again = 0, redriven = 0, dropped = 0
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND partition = :partition

-- name: replay_below
SELECT partition, replay_below FROM ingestd_cursors
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic

-- name: move_cursor
-- The last statement before COMMIT. No row changed: somebody else has the lease, or the range was written already.
UPDATE ingestd_cursors
SET next_offset = :end,
    range_end = CASE WHEN range_end = :start THEN :end ELSE range_end END,
    replay_below = max(replay_below, :end),
    records = records + :records,
    inserted = inserted + :inserted,
    updated = updated + :updated,
    stale = stale + :stale,
    folded = folded + :folded,
    duplicates = duplicates + :duplicates,
    deleted = deleted + :deleted,
    passed = passed + :passed,
    dead = dead + :dead,
    dead_again = dead_again + :dead_again,
    updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND partition = :partition
  AND epoch = :epoch AND next_offset = :start

-- name: has_dead_letter
SELECT 1 FROM ingestd_dead_letters
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND topic_id = :topic_id
  AND partition = :partition AND "offset" = :offset

-- name: insert_dead_letter
-- After a rewind the same record may be refused again: the newer reason replaces the older.
INSERT INTO ingestd_dead_letters (pipeline, sink_group, topic, topic_id, partition, "offset", record_key, payload, headers,
                                  record_time, stage, column_name, reason, sqlstate)
VALUES (:pipeline, :sink_group, :topic, :topic_id, :partition, :offset, :record_key, :payload, :headers,
        :record_time, :stage, :column_name, :reason, :sqlstate)
ON CONFLICT (pipeline, sink_group, topic, topic_id, partition, "offset") DO UPDATE
SET record_key = excluded.record_key, payload = excluded.payload, headers = excluded.headers, record_time = excluded.record_time,
    stage = excluded.stage, column_name = excluded.column_name, reason = excluded.reason, sqlstate = excluded.sqlstate,
    dead_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')

-- name: dead_offsets
SELECT "offset" FROM ingestd_dead_letters
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND topic_id = :topic_id
  AND partition = :partition AND "offset" >= :start AND "offset" < :end

-- name: cursor_rows
SELECT partition, next_offset, topic_id, backend_pid, backend_start, updated_at FROM ingestd_cursors
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic
ORDER BY partition

-- name: move_cursor_by_hand
-- The operator's decision; only while no worker holds the partition (checked by the caller in the same transaction).
UPDATE ingestd_cursors
SET next_offset = :next_offset, range_start = :next_offset, range_end = :next_offset,
    replay_below = CASE WHEN :rebuild OR topic_id IS NOT coalesce(:topic_id, topic_id) THEN :next_offset ELSE replay_below END,
    topic_id = coalesce(:topic_id, topic_id),
    epoch = epoch + 1, backend_pid = NULL, backend_start = NULL, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE pipeline = :pipeline AND sink_group = :sink_group AND topic = :topic AND partition = :partition
