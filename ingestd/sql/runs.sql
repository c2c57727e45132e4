-- Statements of the runs, of PostgreSQL and then of SQLite. Each begins with a line "-- name: x"; the stores' runs.py read
-- them.

-- name: create_runs
-- One row for each execution of `ingestd run`; status: running, ended, crashed. pid and pid_start tell whether it lives.
CREATE TABLE IF NOT EXISTS ingestd.runs (
    run_id       text PRIMARY KEY,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    status       text NOT NULL DEFAULT 'running',
    host         text NOT NULL,
    pid          integer NOT NULL,
    pid_start    text NOT NULL,
    pipelines    text NOT NULL,
    counts       text
)

-- name: begin_run
INSERT INTO ingestd.runs (run_id, host, pid, pid_start, pipelines)
VALUES (%(run_id)s, %(host)s, %(pid)s, %(pid_start)s, %(pipelines)s)
ON CONFLICT (run_id) DO NOTHING

-- name: end_run
-- Waits for a commit in flight of that run: see hold_run.
UPDATE ingestd.runs SET status = %(status)s, ended_at = clock_timestamp(), counts = coalesce(%(counts)s, counts)
WHERE run_id = %(run_id)s AND status = 'running'

-- name: hold_run
-- In the transaction that adds files to the lake: a run that has ended gets none any more.
SELECT status FROM ingestd.runs WHERE run_id = %(run_id)s FOR SHARE

-- name: list_runs
SELECT run_id, started_at, ended_at, status, host, pid, pid_start, pipelines, counts FROM ingestd.runs
ORDER BY started_at, run_id

-- name: sqlite_create_runs
CREATE TABLE IF NOT EXISTS ingestd_runs (
    run_id       TEXT PRIMARY KEY,
    started_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    ended_at     TEXT,
    status       TEXT NOT NULL DEFAULT 'running',
    host         TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    pid_start    TEXT NOT NULL,
    pipelines    TEXT NOT NULL,
    counts       TEXT
)

-- name: sqlite_begin_run
INSERT INTO ingestd_runs (run_id, host, pid, pid_start, pipelines)
VALUES (:run_id, :host, :pid, :pid_start, :pipelines)
ON CONFLICT (run_id) DO NOTHING

-- name: sqlite_end_run
UPDATE ingestd_runs
SET status = :status, ended_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), counts = coalesce(:counts, counts)
WHERE run_id = :run_id AND status = 'running'

-- name: sqlite_hold_run
SELECT status FROM ingestd_runs WHERE run_id = :run_id

-- name: sqlite_list_runs
SELECT run_id, started_at, ended_at, status, host, pid, pid_start, pipelines, counts FROM ingestd_runs
ORDER BY started_at, run_id
