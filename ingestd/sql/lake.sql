-- Statements of the manifests, of PostgreSQL and then of SQLite. Each begins with a line "-- name: x"; the stores'
-- manifest.py read them.

-- name: create_lakes
-- One row for each pipeline with a lake; the id is also in the root, so that no other root is taken for it.
CREATE TABLE IF NOT EXISTS ingestd.lakes (
    pipeline     text PRIMARY KEY,
    lake_id      text NOT NULL,
    url          text NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now()
)

-- name: create_lake_files
-- One row for each file; state: committed, settled, replaced. range_start to range_end is the tile of its commit.
-- replaced_by: the compaction that has its rows now, or 'retention'.
CREATE TABLE IF NOT EXISTS ingestd.lake_files (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline     text NOT NULL,
    topic        text NOT NULL,
    partition    integer,
    range_start  bigint NOT NULL,
    range_end    bigint NOT NULL,
    directory    text NOT NULL,
    name         text NOT NULL,
    staged       text NOT NULL,
    rows         bigint NOT NULL,
    nbytes       bigint NOT NULL,
    footer       text NOT NULL,
    state        text NOT NULL,
    made_by      text NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    settled_at   timestamptz,
    replaced_at  timestamptz,
    replaced_by  text,
    removed_at   timestamptz
)

-- name: index_lake_files_live
-- A file is in the lake once. Hashed: partition values may be longer than an index entry.
CREATE UNIQUE INDEX IF NOT EXISTS lake_files_live ON ingestd.lake_files (pipeline, md5(directory || '/' || name))
WHERE state <> 'replaced'

-- name: index_lake_files_unsettled
CREATE INDEX IF NOT EXISTS lake_files_unsettled ON ingestd.lake_files (pipeline, topic, partition) WHERE state = 'committed'

-- name: index_lake_files_to_remove
CREATE INDEX IF NOT EXISTS lake_files_to_remove ON ingestd.lake_files (pipeline, replaced_at)
WHERE state = 'replaced' AND removed_at IS NULL

-- name: read_lake
SELECT lake_id, url FROM ingestd.lakes WHERE pipeline = %(pipeline)s

-- name: remember_lake
-- Whoever is first gives the id.
INSERT INTO ingestd.lakes (pipeline, lake_id, url) VALUES (%(pipeline)s, %(lake_id)s, %(url)s)
ON CONFLICT (pipeline) DO UPDATE SET url = excluded.url
RETURNING lake_id

-- name: add_files
INSERT INTO ingestd.lake_files (pipeline, topic, partition, range_start, range_end, directory, name, staged, rows, nbytes,
                                footer, state, made_by, committed_at)
SELECT %(pipeline)s, f.topic, f.partition, f.range_start, f.range_end, f.directory, f.name, f.staged, f.rows, f.nbytes,
       f.footer, f.state, f.made_by, coalesce(f.committed_at, now())
FROM unnest(%(topic)s::text[], %(partition)s::integer[], %(start)s::bigint[], %(end)s::bigint[], %(directory)s::text[],
            %(name)s::text[], %(staged)s::text[], %(rows)s::bigint[], %(nbytes)s::bigint[], %(footer)s::text[],
            %(state)s::text[], %(made_by)s::text[], %(committed_at)s::timestamptz[]) WITH ORDINALITY
     AS f(topic, partition, range_start, range_end, directory, name, staged, rows, nbytes, footer, state, made_by,
          committed_at, n)
ORDER BY f.n

-- name: replace_files
UPDATE ingestd.lake_files SET state = 'replaced', replaced_at = now(), replaced_by = %(by)s
WHERE pipeline = %(pipeline)s AND id = ANY(%(ids)s) AND state <> 'replaced'

-- name: mark_settled
UPDATE ingestd.lake_files SET state = 'settled', settled_at = now()
WHERE pipeline = %(pipeline)s AND id = ANY(%(ids)s) AND state = 'committed'

-- name: mark_removed
UPDATE ingestd.lake_files SET removed_at = now()
WHERE pipeline = %(pipeline)s AND id = ANY(%(ids)s) AND state = 'replaced'

-- name: file_columns
-- In the order of LakeFile; not a statement by itself.
id, topic, partition, range_start, range_end, directory, name, staged, rows, nbytes, footer, state, made_by, committed_at

-- name: unsettled
FROM ingestd.lake_files
WHERE pipeline = %(pipeline)s AND state = 'committed'
  AND (%(all)s OR (topic = %(topic)s AND partition = ANY(%(partitions)s)))
ORDER BY id

-- name: live_files
FROM ingestd.lake_files
WHERE pipeline = %(pipeline)s AND state <> 'replaced' AND committed_at <= now() - make_interval(secs => %(secs)s)
ORDER BY id

-- name: files_to_remove
FROM ingestd.lake_files
WHERE pipeline = %(pipeline)s AND state = 'replaced' AND removed_at IS NULL
  AND replaced_at <= now() - make_interval(secs => %(secs)s)
ORDER BY id

-- name: sqlite_create_lakes
CREATE TABLE IF NOT EXISTS ingestd_lakes (
    pipeline     TEXT PRIMARY KEY,
    lake_id      TEXT NOT NULL,
    url          TEXT NOT NULL,
    made_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)

-- name: sqlite_create_lake_files
CREATE TABLE IF NOT EXISTS ingestd_lake_files (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline     TEXT NOT NULL,
    topic        TEXT NOT NULL,
    partition    INTEGER,
    range_start  INTEGER NOT NULL,
    range_end    INTEGER NOT NULL,
    directory    TEXT NOT NULL,
    name         TEXT NOT NULL,
    staged       TEXT NOT NULL,
    rows         INTEGER NOT NULL,
    nbytes       INTEGER NOT NULL,
    footer       TEXT NOT NULL,
    state        TEXT NOT NULL,
    made_by      TEXT NOT NULL,
    committed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    settled_at   TEXT,
    replaced_at  TEXT,
    replaced_by  TEXT,
    removed_at   TEXT
)

-- name: sqlite_index_lake_files_live
CREATE UNIQUE INDEX IF NOT EXISTS ingestd_lake_files_live ON ingestd_lake_files (pipeline, directory, name)
WHERE state <> 'replaced'

-- name: sqlite_index_lake_files_unsettled
CREATE INDEX IF NOT EXISTS ingestd_lake_files_unsettled ON ingestd_lake_files (pipeline, topic, partition)
WHERE state = 'committed'

-- name: sqlite_index_lake_files_to_remove
CREATE INDEX IF NOT EXISTS ingestd_lake_files_to_remove ON ingestd_lake_files (pipeline, replaced_at)
WHERE state = 'replaced' AND removed_at IS NULL

-- name: sqlite_read_lake
SELECT lake_id, url FROM ingestd_lakes WHERE pipeline = :pipeline

-- name: sqlite_remember_lake
INSERT INTO ingestd_lakes (pipeline, lake_id, url) VALUES (:pipeline, :lake_id, :url)
ON CONFLICT (pipeline) DO UPDATE SET url = excluded.url
RETURNING lake_id

-- name: sqlite_add_file
INSERT INTO ingestd_lake_files (pipeline, topic, partition, range_start, range_end, directory, name, staged, rows, nbytes,
                                footer, state, made_by, committed_at)
VALUES (:pipeline, :topic, :partition, :start, :end, :directory, :name, :staged, :rows, :nbytes, :footer, :state, :made_by,
        coalesce(:committed_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))

-- name: sqlite_replace_files
UPDATE ingestd_lake_files SET state = 'replaced', replaced_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), replaced_by = :by
WHERE pipeline = :pipeline AND id IN (SELECT value FROM json_each(:ids)) AND state <> 'replaced'

-- name: sqlite_mark_settled
UPDATE ingestd_lake_files SET state = 'settled', settled_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE pipeline = :pipeline AND id IN (SELECT value FROM json_each(:ids)) AND state = 'committed'

-- name: sqlite_mark_removed
UPDATE ingestd_lake_files SET removed_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE pipeline = :pipeline AND id IN (SELECT value FROM json_each(:ids)) AND state = 'replaced'

-- name: sqlite_unsettled
FROM ingestd_lake_files
WHERE pipeline = :pipeline AND state = 'committed'
  AND (:all OR (topic = :topic AND partition IN (SELECT value FROM json_each(:partitions))))
ORDER BY id

-- name: sqlite_live_files
FROM ingestd_lake_files
WHERE pipeline = :pipeline AND state <> 'replaced' AND committed_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', :ago)
ORDER BY id

-- name: sqlite_files_to_remove
FROM ingestd_lake_files
WHERE pipeline = :pipeline AND state = 'replaced' AND removed_at IS NULL
  AND replaced_at <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now', :ago)
ORDER BY id
