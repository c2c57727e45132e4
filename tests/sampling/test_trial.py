"""`ingestd check --sample`: the real table and the real sink, and not a trace of it."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from msgspec import structs

from ingestd.batch import Counts
from ingestd.cli import main
from ingestd.config import options as cfg
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import Retryable
from ingestd.sampling.trial import try_rows
from ingestd.sampling.trial_copy import try_on_copy
from tests.e2e.running import events, write_config
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask, decoded, pipeline_of, records_of


def _traces(url: str) -> list[tuple[int]]:
    ours = "n.nspname !~ '^(pg_|information_schema)' AND c.relkind = 'r'"
    return ask(url, f"SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours}")


def test_table_that_would_be_made_is_gone_afterwards(database: str) -> None:
    pipeline = pipeline_of({"id": "int8"}, create=True)
    rows = decoded(pipeline, records_of([{"id": 1}, {"id": 2}, {"id": 1}, {"id": "x"}]))
    outcome = try_rows(cfg.Store(url=database), pipeline, rows)
    assert outcome.counts == {0: Counts(records=4, inserted=2, duplicates=1, dead=1)}
    assert [(letter.offset, letter.column) for letter in outcome.dead] == [(3, "id")]
    assert _traces(database) == []


def test_rows_that_the_database_would_refuse_are_found_and_nothing_is_written(database: str) -> None:
    """By the ways that the worker goes, also for what only COMMIT refuses."""
    ask(database, "CREATE TABLE other (id int8 PRIMARY KEY)")
    ask(database, "INSERT INTO other VALUES (1), (2)")
    key = "id int8 PRIMARY KEY REFERENCES other DEFERRABLE INITIALLY DEFERRED"
    ask(database, f"CREATE TABLE orders ({key}, n int8 CHECK (n > 0))")
    ask(database, "INSERT INTO orders VALUES (1, 1)")
    pipeline = pipeline_of({"id": "int8", "n": "int8"})
    values = [{"id": 1, "n": 5}, {"id": 2, "n": 5}, {"id": 7, "n": 5}, {"id": 2, "n": -1}]
    outcome = try_rows(cfg.Store(url=database), pipeline, decoded(pipeline, records_of(values)))
    assert outcome.counts == {0: Counts(records=4, inserted=1, duplicates=1, dead=2)}
    assert sorted((letter.offset, letter.sqlstate) for letter in outcome.dead) == [(2, "23503"), (3, "23514")]
    assert ask(database, "SELECT * FROM orders") == [(1, 1)]


def test_sqlite_file_is_tried_on_a_copy_even_while_it_is_locked(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as owner:
        owner.execute("PRAGMA journal_mode = WAL")
        owner.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, n INTEGER CHECK (n > 0))")
        owner.execute("INSERT INTO orders VALUES (1, 1)")
        owner.execute("BEGIN IMMEDIATE")
        before = file.read_bytes()
        pipeline = pipeline_of({"id": "int8", "n": "int8"})
        values = [{"id": 1, "n": 5}, {"id": 2, "n": 5}, {"id": 3, "n": -5}, {"id": "x", "n": 1}]
        outcome = try_on_copy(cfg.Store(url=f"sqlite:///{file}"), pipeline, decoded(pipeline, records_of(values)))
        assert file.read_bytes() == before
    assert outcome is not None
    assert outcome.counts == {0: Counts(records=4, inserted=1, duplicates=1, dead=2)}
    assert sorted(letter.offset for letter in outcome.dead) == [2, 3]


def test_lock_that_somebody_holds_is_not_waited_for_long(database: str) -> None:
    ask(database, "CREATE TABLE orders (id int8 PRIMARY KEY)")
    pipeline = pipeline_of({"id": "int8"})
    rows = decoded(pipeline, records_of([{"id": 1}]))
    with psycopg.connect(database) as holder:
        holder.execute("LOCK TABLE orders")
        tried: list[BaseException] = []

        def trying() -> None:
            try:
                try_rows(cfg.Store(url=database), pipeline, rows)
            except Retryable as error:
                tried.append(error)

        thread = threading.Thread(target=trying)
        thread.start()
        thread.join(15)
        assert not thread.is_alive()
        assert "lock timeout" in str(tried)


@pytest.mark.e2e
def test_check_shows_what_would_be_refused_and_commits_nothing(
    kafka: KafkaServer,
    topic: MakeTopic,
    produce: Produce,
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = topic(2)
    produce(name, [*events(30), *['{"id": "secret"}'] * 25, *events(200)], partition=0)
    file = write_config(tmp_path, kafka.bootstrap_servers, database, name)
    assert main(["check", "--config", str(file), "--sample", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (said,) = [line for line in lines if f"sample {name}-0" in line]
    assert "60 records (offsets 0 to 59) decoded, written, rolled back: 30 inserted, 5 duplicates, 25 refused" in said
    examples = [line for line in lines if "would be a dead letter: column id" in line]
    assert len(examples) == 20 and f"{name}-0 offset 30" in examples[0]
    assert any("5 more would be dead letters" in line for line in lines)
    assert not any("secret" in line for line in lines)
    assert _traces(database) == []


def test_gate_and_memory_of_deletes_keep_nothing_of_a_trial(database: str) -> None:
    pipeline = pipeline_of({"id": "int8", "op": "text"}, mode="upsert", create=True)
    pipeline = structs.replace(
        pipeline,
        dedupe=cfg.Dedupe(table="seen", key="op", create=True),
        table=structs.replace(pipeline.table, delete=cfg.Delete(when={"op": "d"}, how="hard")),
        column=tuple(structs.replace(column, required=True) for column in pipeline.column),
    )
    values = [{"id": 1, "op": "a"}, {"id": 1, "op": "b"}, {"id": 2, "op": "b"}, {"id": 3, "op": "d"}, {"id": 4}]
    outcome = try_rows(cfg.Store(url=database), pipeline, decoded(pipeline, records_of(values)))
    counts = outcome.counts[0]
    assert (counts.records, counts.inserted, counts.folded, counts.duplicates, counts.dead) == (5, 1, 1, 1, 1)
    assert _traces(database) == []
