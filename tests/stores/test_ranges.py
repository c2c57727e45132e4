"""Ranges of the ledger: a move of a cursor that was no commit is never lost from sight."""

import re

import psycopg
import pytest

from ingestd.batch import Counts, DeadLetter, Tile
from ingestd.config import options as cfg
from ingestd.errors import Halt, StartupError
from ingestd.preflight.postgres import examine_postgres
from ingestd.stores.cursors import Move
from ingestd.stores.postgres.cursors import move_cursors
from ingestd.stores.postgres.store import PostgresStore
from tests.sinks.contracts import ask
from tests.stores.conftest import KEY, MakeStore

RANGES = "SELECT partition, range_start, range_end, records, ended_by FROM ingestd.ranges ORDER BY id"
CURRENT = "SELECT range_start, range_end, next_offset, records FROM ingestd.cursors ORDER BY partition"


def _claim(store: PostgresStore, first: int = 0) -> int:
    (lease,) = store.claim([0], lambda new, _: {p: (first, "id") for p in new})
    return lease.epoch


def _commit(store: PostgresStore, start: int, end: int, epoch: int, dead: tuple[int, ...] = ()) -> None:
    with store.transaction([Tile(0, start, end)], {0: epoch}) as tx:
        tx.counts[0] = Counts(records=end - start, inserted=end - start - len(dead), dead=len(dead))
        letters = [DeadLetter(0, at, None, b"x", None, 0, "decode", None, "bad") for at in dead]
        store.write_dead_letters(letters, tx, {0: "id"})


def _release(url: str) -> None:
    """As when the worker has gone: its session is no longer there."""
    ask(url, "UPDATE ingestd.cursors SET backend_pid = NULL")


def test_commits_extend_one_range_and_leave_no_row_behind(store: MakeStore, database: str) -> None:
    one = store()
    epoch = _claim(one, 100)
    _commit(one, 100, 130, epoch)
    _commit(one, 130, 150, _claim(one))
    assert ask(database, CURRENT) == [(100, 150, 150, 50)]
    assert ask(database, RANGES) == []


@pytest.mark.parametrize("moved_to", [3, 40])
def test_cursor_moved_by_hand_ends_its_range_at_the_next_claim(store: MakeStore, database: str, moved_to: int) -> None:
    one = store()
    _commit(one, 0, 10, _claim(one))
    ask(database, "UPDATE ingestd.cursors SET next_offset = %s", moved_to)
    _commit(one, moved_to, 50, _claim(one))
    assert ask(database, RANGES) == [(0, 0, 10, 10, "unknown move")]
    assert ask(database, CURRENT) == [(moved_to, 50, 50, 50 - moved_to)]


def test_reset_notes_who_moved_the_cursor_and_where_to(store: MakeStore, database: str) -> None:
    one = store()
    _commit(one, 0, 10, _claim(one))
    _release(database)
    with psycopg.connect(database) as connection:
        move_cursors(connection, KEY, [Move(0, 4, "id")])
    ((*numbers, ended_by),) = ask(database, RANGES)
    assert numbers == [0, 0, 10, 10]
    assert re.fullmatch(r"reset to 4 by \S+@\S+", ended_by)
    assert ask(database, CURRENT) == [(4, 4, 4, 0)]
    assert ask(database, "SELECT replay_below FROM ingestd.cursors") == [(10,)]


def test_rebuild_reads_as_for_the_first_time(store: MakeStore, database: str) -> None:
    one = store()
    _commit(one, 0, 10, _claim(one))
    _release(database)
    with psycopg.connect(database) as connection:
        move_cursors(connection, KEY, [Move(0, 4, "id")], rebuild=True)
    assert ask(database, "SELECT replay_below FROM ingestd.cursors") == [(4,)]
    assert ask(database, "SELECT ended_by LIKE 'rebuild from 4 by %%@%%' FROM ingestd.ranges", *()) == [(True,)]


def test_rebuild_is_refused_while_a_worker_holds_the_partition(store: MakeStore, database: str) -> None:
    one = store()
    _commit(one, 0, 10, _claim(one))
    with psycopg.connect(database) as connection, pytest.raises(StartupError, match="a worker holds it"):
        move_cursors(connection, KEY, [Move(0, 0, "id")], rebuild=True)
    assert ask(database, RANGES) == []


def test_dead_letter_of_a_rewound_record_is_counted_as_a_second_one_of_the_same(
    store: MakeStore, database: str
) -> None:
    """Or the table would seem to have lost one."""
    one = store()
    _commit(one, 0, 10, _claim(one), dead=(2, 5))
    ask(database, "UPDATE ingestd.cursors SET next_offset = 4")
    _commit(one, 4, 20, _claim(one), dead=(5, 15))
    assert ask(database, "SELECT dead, dead_again FROM ingestd.ranges") == [(2, 0)]
    assert ask(database, "SELECT dead, dead_again FROM ingestd.cursors") == [(2, 1)]
    assert ask(database, "SELECT count(*) FROM ingestd.dead_letters") == [(3,)]


def _make_older(url: str) -> None:
    ask(url, "DROP TABLE ingestd.ranges")
    for column in ("range_start", "range_end", "updated", "folded", "dead_again", "redriven"):
        ask(url, f"ALTER TABLE ingestd.cursors DROP COLUMN {column}")


def test_ledger_of_an_older_version_is_completed_and_its_counts_are_kept(store: MakeStore, database: str) -> None:
    old = store()
    _commit(old, 0, 10, _claim(old))
    old.close()
    _make_older(database)
    one = store()
    _commit(one, 10, 12, _claim(one))
    assert ask(database, RANGES) == [(0, 10, 10, 10, "older version")]
    assert ask(database, CURRENT) == [(10, 12, 12, 2)]
    found = ask(database, "SELECT attname FROM pg_attribute WHERE attrelid = 'ingestd.cursors'::regclass")
    assert {"redriven", "folded", "dead_again"} <= {name for (name,) in found}


def _config(url: str) -> cfg.Config:
    kafka = cfg.Kafka(bootstrap_servers="x", group_id="g")
    return cfg.Config(kafka=kafka, store=cfg.Store(url=url), pipeline=())


def test_role_that_may_not_complete_the_ledger_is_told_the_statements(store: MakeStore, database: str) -> None:
    store()
    _make_older(database)
    role = f"older_{database.rsplit('_', 1)[1]}"
    info = psycopg.conninfo.conninfo_to_dict(database)
    ask(database, f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        ask(database, f"GRANT USAGE, CREATE ON SCHEMA ingestd TO {role}")
        ask(database, f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA ingestd TO {role}")
        url = f"postgresql://{role}:pw@{info['host']}:{info['port']}/{info['dbname']}"
        with pytest.raises(Halt) as halt:
            store(url)
        ddl = str(halt.value).partition("(HUP): ")[2]
        assert "ADD COLUMN IF NOT EXISTS" in ddl and "CREATE TABLE IF NOT EXISTS ingestd.ranges" in ddl
        assert any(found.mend == ddl for found in examine_postgres(_config(url)))
        ask(database, ddl)
        ask(database, f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA ingestd TO {role}")
        store(url)
    finally:
        ask(database, f"DROP OWNED BY {role} CASCADE")
        ask(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", role)
        ask(database, f"DROP ROLE {role}")
