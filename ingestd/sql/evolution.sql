-- Statements of on_new_field = "evolve". Each begins with a line "-- name: x"; the stores' evolution.py read them.

-- name: evolved_exists
SELECT to_regclass('ingestd.evolved') IS NOT NULL

-- name: create_evolved
-- Which columns ingestd added to a table, and for which pipeline; every pipeline of the table fills them.
CREATE TABLE IF NOT EXISTS ingestd.evolved (
    n            bigint GENERATED ALWAYS AS IDENTITY,
    pipeline     text NOT NULL,
    table_name   text NOT NULL,
    column_name  text NOT NULL,
    column_type  text NOT NULL,
    added_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, column_name)
)

-- name: read_evolved
-- A column that somebody dropped is forgotten with it.
SELECT e.column_name, e.column_type
FROM ingestd.evolved e
JOIN pg_attribute a ON a.attrelid = to_regclass(%(regclass)s) AND a.attname = e.column_name AND NOT a.attisdropped
WHERE e.table_name = %(table_name)s
ORDER BY e.n

-- name: read_columns
-- With the system columns, whose names no column may have.
SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%(regclass)s) AND NOT attisdropped

-- name: remember_evolved
INSERT INTO ingestd.evolved (pipeline, table_name, column_name, column_type)
VALUES (%(pipeline)s, %(table_name)s, %(column_name)s, %(column_type)s)
ON CONFLICT (table_name, column_name)
DO UPDATE SET pipeline = excluded.pipeline, column_type = excluded.column_type, added_at = now()

-- name: sqlite_evolved_exists
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'ingestd_evolved'

-- name: sqlite_create_evolved
CREATE TABLE IF NOT EXISTS ingestd_evolved (
    n           INTEGER PRIMARY KEY,
    pipeline    TEXT NOT NULL,
    table_name  TEXT NOT NULL,
    column_name TEXT NOT NULL,
    column_type TEXT NOT NULL,
    added_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    UNIQUE (table_name, column_name)
)

-- name: sqlite_read_evolved
SELECT e.column_name, e.column_type
FROM ingestd_evolved e
JOIN pragma_table_xinfo(:table_name) c ON c.name = e.column_name
WHERE e.table_name = :table_name
ORDER BY e.n

-- name: sqlite_read_columns
SELECT name FROM pragma_table_xinfo(:table_name)

-- name: sqlite_remember_evolved
INSERT INTO ingestd_evolved (pipeline, table_name, column_name, column_type)
VALUES (:pipeline, :table_name, :column_name, :column_type)
ON CONFLICT (table_name, column_name)
DO UPDATE SET pipeline = excluded.pipeline, column_type = excluded.column_type
