-- Statements on single dead letters. Each begins with a line "-- name: x"; stores/statements.py reads them.

-- name: columns
-- The columns of a letter, in the order of stores/dead_letters.py; not a statement by itself.
id, topic, topic_id, partition, "offset", record_key, payload, headers,
(extract(epoch FROM record_time) * 1000)::bigint, stage, column_name, reason, sqlstate, dead_at

-- name: exists
SELECT to_regclass('ingestd.dead_letters') IS NOT NULL

-- name: lock
-- What another transaction has is its own to send or drop: nobody waits.
SELECT id, partition FROM ingestd.dead_letters
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND id = ANY(%(ids)s)
ORDER BY id FOR UPDATE SKIP LOCKED

-- name: remove
DELETE FROM ingestd.dead_letters WHERE id = ANY(%(ids)s)

-- name: count
-- The last statement before COMMIT, as in every transaction of the ledger. What became of a redriven record counts like
-- that of any other: afterwards records + redriven is the sum of all fates, and dead - dead_again - redriven - dropped
-- is the number of letters.
UPDATE ingestd.cursors
SET redriven = redriven + %(redriven)s,
    dropped = dropped + %(dropped)s,
    inserted = inserted + %(inserted)s,
    updated = updated + %(updated)s,
    stale = stale + %(stale)s,
    folded = folded + %(folded)s,
    duplicates = duplicates + %(duplicates)s,
    deleted = deleted + %(deleted)s,
    passed = passed + %(passed)s
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s AND partition = %(partition)s

-- name: side_cursors
-- For a transaction beside the workers: what was committed before, and of which topic.
SELECT partition, replay_below FROM ingestd.cursors
WHERE pipeline = %(pipeline)s AND sink_group = %(sink_group)s AND topic = %(topic)s

-- name: outbox_index_exists
SELECT to_regclass('ingestd.dead_letters_not_forwarded') IS NOT NULL, to_regclass('ingestd.dead_letters_not_exported') IS NOT NULL

-- name: index_not_forwarded
-- Only what waits is in it; made by the first keeper that forwards.
CREATE INDEX IF NOT EXISTS dead_letters_not_forwarded ON ingestd.dead_letters (pipeline, id) WHERE forwarded_at IS NULL

-- name: index_not_exported
CREATE INDEX IF NOT EXISTS dead_letters_not_exported ON ingestd.dead_letters (pipeline, id) WHERE exported_at IS NULL

-- name: mark_forwarded
UPDATE ingestd.dead_letters SET forwarded_at = now() WHERE id = ANY(%(ids)s)

-- name: mark_exported
UPDATE ingestd.dead_letters SET exported_at = now() WHERE id = ANY(%(ids)s)
