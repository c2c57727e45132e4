-- Statements of stage and current tables, of PostgreSQL and then of SQLite. Each begins with a line "-- name: x"; the
-- stores' medallion.py read them.

-- name: create_stage_units
-- One row for each run and stage table: what its events became. state: committed, settled (its files are in place).
-- partitions: JSON, {"<partition>": [first offset, offset after the last]}; key_columns: JSON, the primary key.
CREATE TABLE IF NOT EXISTS ingestd.stage_units (
    pipeline     text NOT NULL,
    table_name   text NOT NULL,
    run_id       text NOT NULL,
    topic        text NOT NULL,
    state        text NOT NULL,
    events       bigint NOT NULL,
    rows         bigint NOT NULL,
    dead         bigint NOT NULL,
    ignored      bigint NOT NULL,
    truncates    bigint NOT NULL,
    files        bigint NOT NULL,
    nbytes       bigint NOT NULL,
    partitions   text NOT NULL,
    key_columns  text NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, table_name, run_id)
)

-- name: create_staged_runs
-- One row for each run of which all is staged: events = those of its units + unread, of topics that no table reads.
CREATE TABLE IF NOT EXISTS ingestd.staged_runs (
    pipeline     text NOT NULL,
    run_id       text NOT NULL,
    events       bigint NOT NULL,
    unread       bigint NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, run_id)
)

-- name: create_current_tables
-- One row for each current table; buckets: files by hash of the key. state: committed, settled (it is in place).
CREATE TABLE IF NOT EXISTS ingestd.current_tables (
    pipeline     text NOT NULL,
    table_name   text NOT NULL,
    version      bigint NOT NULL,
    state        text NOT NULL,
    buckets      integer NOT NULL,
    key_types    text NOT NULL,
    rows         bigint NOT NULL,
    nbytes       bigint NOT NULL,
    merged_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, table_name)
)

-- name: create_current_runs
-- The stage partitions that are in a current table, and since which version.
CREATE TABLE IF NOT EXISTS ingestd.current_runs (
    pipeline     text NOT NULL,
    table_name   text NOT NULL,
    run_id       text NOT NULL,
    version      bigint NOT NULL,
    PRIMARY KEY (pipeline, table_name, run_id)
)

-- name: list_units
SELECT run_id, table_name, topic, state, events, rows, dead, ignored, truncates, files, nbytes, partitions, key_columns
FROM ingestd.stage_units WHERE pipeline = %(pipeline)s ORDER BY run_id, table_name

-- name: add_unit
INSERT INTO ingestd.stage_units (pipeline, table_name, run_id, topic, state, events, rows, dead, ignored, truncates, files,
                                 nbytes, partitions, key_columns)
VALUES (%(pipeline)s, %(table)s, %(run_id)s, %(topic)s, %(state)s, %(events)s, %(rows)s, %(dead)s, %(ignored)s,
        %(truncates)s, %(files)s, %(nbytes)s, %(partitions)s, %(key)s)

-- name: settle_unit
UPDATE ingestd.stage_units SET state = 'settled'
WHERE pipeline = %(pipeline)s AND table_name = %(table)s AND run_id = %(run_id)s

-- name: list_staged_runs
SELECT run_id, events, unread FROM ingestd.staged_runs WHERE pipeline = %(pipeline)s ORDER BY run_id

-- name: add_staged_run
INSERT INTO ingestd.staged_runs (pipeline, run_id, events, unread)
VALUES (%(pipeline)s, %(run_id)s, %(events)s, %(unread)s)
ON CONFLICT (pipeline, run_id) DO NOTHING

-- name: list_tables
SELECT table_name, version, state, buckets, key_types, rows, nbytes FROM ingestd.current_tables
WHERE pipeline = %(pipeline)s ORDER BY table_name

-- name: merged_runs
SELECT run_id FROM ingestd.current_runs WHERE pipeline = %(pipeline)s AND table_name = %(table)s

-- name: first_version
INSERT INTO ingestd.current_tables (pipeline, table_name, version, state, buckets, key_types, rows, nbytes)
VALUES (%(pipeline)s, %(table)s, 0, 'settled', 0, '', 0, 0)
ON CONFLICT (pipeline, table_name) DO NOTHING

-- name: next_version
-- No row changed: another merge was first.
UPDATE ingestd.current_tables
SET version = %(version)s, state = 'committed', buckets = %(buckets)s, key_types = %(key_types)s, rows = %(rows)s,
    nbytes = %(nbytes)s, merged_at = clock_timestamp()
WHERE pipeline = %(pipeline)s AND table_name = %(table)s AND version = %(version)s - 1 AND state = 'settled'

-- name: add_merged_run
INSERT INTO ingestd.current_runs (pipeline, table_name, run_id, version)
VALUES (%(pipeline)s, %(table)s, %(run_id)s, %(version)s)

-- name: settle_table
UPDATE ingestd.current_tables SET state = 'settled'
WHERE pipeline = %(pipeline)s AND table_name = %(table)s AND version = %(version)s

-- name: sqlite_create_stage_units
CREATE TABLE IF NOT EXISTS ingestd_stage_units (
    pipeline     TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    topic        TEXT NOT NULL,
    state        TEXT NOT NULL,
    events       INTEGER NOT NULL,
    rows         INTEGER NOT NULL,
    dead         INTEGER NOT NULL,
    ignored      INTEGER NOT NULL,
    truncates    INTEGER NOT NULL,
    files        INTEGER NOT NULL,
    nbytes       INTEGER NOT NULL,
    partitions   TEXT NOT NULL,
    key_columns  TEXT NOT NULL,
    made_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (pipeline, table_name, run_id)
)

-- name: sqlite_create_staged_runs
CREATE TABLE IF NOT EXISTS ingestd_staged_runs (
    pipeline     TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    events       INTEGER NOT NULL,
    unread       INTEGER NOT NULL,
    made_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (pipeline, run_id)
)

-- name: sqlite_create_current_tables
CREATE TABLE IF NOT EXISTS ingestd_current_tables (
    pipeline     TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    version      INTEGER NOT NULL,
    state        TEXT NOT NULL,
    buckets      INTEGER NOT NULL,
    key_types    TEXT NOT NULL,
    rows         INTEGER NOT NULL,
    nbytes       INTEGER NOT NULL,
    merged_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (pipeline, table_name)
)

-- name: sqlite_create_current_runs
CREATE TABLE IF NOT EXISTS ingestd_current_runs (
    pipeline     TEXT NOT NULL,
    table_name   TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    version      INTEGER NOT NULL,
    PRIMARY KEY (pipeline, table_name, run_id)
)

-- name: sqlite_list_units
SELECT run_id, table_name, topic, state, events, rows, dead, ignored, truncates, files, nbytes, partitions, key_columns
FROM ingestd_stage_units WHERE pipeline = :pipeline ORDER BY run_id, table_name

-- name: sqlite_add_unit
INSERT INTO ingestd_stage_units (pipeline, table_name, run_id, topic, state, events, rows, dead, ignored, truncates, files,
                                 nbytes, partitions, key_columns)
VALUES (:pipeline, :table, :run_id, :topic, :state, :events, :rows, :dead, :ignored,
        :truncates, :files, :nbytes, :partitions, :key)

-- name: sqlite_settle_unit
UPDATE ingestd_stage_units SET state = 'settled'
WHERE pipeline = :pipeline AND table_name = :table AND run_id = :run_id

-- name: sqlite_list_staged_runs
SELECT run_id, events, unread FROM ingestd_staged_runs WHERE pipeline = :pipeline ORDER BY run_id

-- name: sqlite_add_staged_run
INSERT INTO ingestd_staged_runs (pipeline, run_id, events, unread)
VALUES (:pipeline, :run_id, :events, :unread)
ON CONFLICT (pipeline, run_id) DO NOTHING

-- name: sqlite_list_tables
SELECT table_name, version, state, buckets, key_types, rows, nbytes FROM ingestd_current_tables
WHERE pipeline = :pipeline ORDER BY table_name

-- name: sqlite_merged_runs
SELECT run_id FROM ingestd_current_runs WHERE pipeline = :pipeline AND table_name = :table

-- name: sqlite_first_version
INSERT INTO ingestd_current_tables (pipeline, table_name, version, state, buckets, key_types, rows, nbytes)
VALUES (:pipeline, :table, 0, 'settled', 0, '', 0, 0)
ON CONFLICT (pipeline, table_name) DO NOTHING

-- name: sqlite_next_version
UPDATE ingestd_current_tables
SET version = :version, state = 'committed', buckets = :buckets, key_types = :key_types, rows = :rows,
    nbytes = :nbytes, merged_at = (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
WHERE pipeline = :pipeline AND table_name = :table AND version = :version - 1 AND state = 'settled'

-- name: sqlite_add_merged_run
INSERT INTO ingestd_current_runs (pipeline, table_name, run_id, version)
VALUES (:pipeline, :table, :run_id, :version)

-- name: sqlite_settle_table
UPDATE ingestd_current_tables SET state = 'settled'
WHERE pipeline = :pipeline AND table_name = :table AND version = :version
