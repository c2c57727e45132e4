-- The topics that the ledger knows of a pipeline. Each begins with a line "-- name: x"; stores/statements.py reads them.

-- name: ledger_exists
SELECT to_regclass('ingestd.cursors') IS NOT NULL

-- name: ledger_topics
SELECT topic, max(epoch) FROM ingestd.cursors WHERE pipeline = %(pipeline)s GROUP BY 1 ORDER BY 1

-- name: sqlite_ledger_exists
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'ingestd_cursors'

-- name: sqlite_ledger_topics
SELECT topic, max(epoch) FROM ingestd_cursors WHERE pipeline = :pipeline GROUP BY 1 ORDER BY 1
