-- Statements of cdc.columns = "from_events". Each begins with a line "-- name: x"; the stores' source_tables.py read them.

-- name: exists
SELECT to_regclass('ingestd.source_tables') IS NOT NULL

-- name: create
-- What the copy of a source's table looks like: [[column, contract type], ..] the key's columns, and what the source fills in.
CREATE TABLE IF NOT EXISTS ingestd.source_tables (
    pipeline   text NOT NULL,
    topic      text NOT NULL,
    table_name text NOT NULL,
    columns    text NOT NULL,
    key        text NOT NULL,
    defaults   text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic)
)

-- name: read
SELECT columns, key, defaults FROM ingestd.source_tables WHERE pipeline = %(pipeline)s AND topic = %(topic)s

-- name: remember
INSERT INTO ingestd.source_tables (pipeline, topic, table_name, columns, key, defaults)
VALUES (%(pipeline)s, %(topic)s, %(table_name)s, %(columns)s, %(key)s, %(defaults)s)
ON CONFLICT (pipeline, topic)
DO UPDATE SET table_name = excluded.table_name, columns = excluded.columns, key = excluded.key,
              defaults = excluded.defaults, changed_at = now()

-- name: sqlite_exists
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'ingestd_source_tables'

-- name: sqlite_create
CREATE TABLE IF NOT EXISTS ingestd_source_tables (
    pipeline   TEXT NOT NULL,
    topic      TEXT NOT NULL,
    table_name TEXT NOT NULL,
    columns    TEXT NOT NULL,
    key        TEXT NOT NULL,
    defaults   TEXT NOT NULL,
    changed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    PRIMARY KEY (pipeline, topic)
)

-- name: sqlite_read
SELECT columns, key, defaults FROM ingestd_source_tables WHERE pipeline = :pipeline AND topic = :topic

-- name: sqlite_remember
INSERT INTO ingestd_source_tables (pipeline, topic, table_name, columns, key, defaults)
VALUES (:pipeline, :topic, :table_name, :columns, :key, :defaults)
ON CONFLICT (pipeline, topic)
DO UPDATE SET table_name = excluded.table_name, columns = excluded.columns, key = excluded.key,
              defaults = excluded.defaults,
              changed_at = strftime('%Y-%m-%dT%H:%M:%SZ', 'now')
