"""Several workers and pipelines at one gate: nobody deadlocks, nobody waits for ever, every key comes through once."""

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from ingestd.config import options as cfg
from ingestd.sinks.postgres.gate import PostgresGate, forget_keys
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import Bench, ask, pipeline_of

_COLUMNS = {"id": "text", "event": "text", "v": "int4"}
_DDL = "CREATE TABLE orders (id text PRIMARY KEY, event text, v int CHECK (v > 0))"
_GATE: dict[str, Any] = {"dedupe": {"table": "seen", "key": "event", "create": True}}


def _in_threads(works: list[Callable[[], None]]) -> list[BaseException]:
    """What the works raised, each in a thread of its own, all begun at one moment."""
    raised: list[BaseException] = []
    together = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        together.wait(10)
        try:
            work()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


def _wait_for_waiter(url: str) -> None:
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 10
    while not ask(url, asked):
        assert time.monotonic() < deadline, "nobody waits for a lock"
        threading.Event().wait(0.02)


@pytest.mark.parametrize("mode", ["insert", "upsert"])
def test_writers_with_overlapping_keys_in_random_order_do_not_deadlock(bench: MakeBench, mode: str) -> None:
    """Batches of 5,000, gate keys and table keys in unrelated orders."""
    writers = [bench(_DDL if n == 0 else "", _COLUMNS, (n,), mode=mode, **_GATE) for n in range(4)]
    chance = random.Random(7)
    rows = [{"id": f"{n * 7919 % 9000:05}", "event": f"e{n * 104729 % 9000}", "v": 1} for n in range(9000)]

    def work(partition: int, batches: list[list[dict[str, Any]]]) -> Callable[[], None]:
        def commit() -> None:
            for n, batch in enumerate(batches):
                writers[partition].commit(batch, n * 5_000, partition)

        return commit

    works = [work(p, [chance.choices(rows, k=5_000) for _ in range(3)]) for p in range(4)]
    assert _in_threads(works) == []
    events = writers[0].column("event")
    assert len(events) == len(set(events)) == ask(writers[0].url, "SELECT count(*) FROM seen")[0][0]
    totals = "SELECT sum(records)::int, sum(inserted)::int, sum(duplicates)::int FROM ingestd.cursors"
    assert ask(writers[0].url, totals) == [(60_000, len(events), 60_000 - len(events))]
    assert ask(writers[0].url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_workers_that_make_the_gate_together_do_not_halt(database: str) -> None:
    ask(database, _DDL)
    pipeline = pipeline_of(
        _COLUMNS, dedupe={"table": "seen", "key": "event", "create": True, "retention": cfg.Secs(3600)}
    )

    def attach() -> None:
        with psycopg.connect(database) as connection:
            PostgresGate(pipeline).attach(connection)

    assert _in_threads([attach] * 6) == []
    assert ask(database, "SELECT count(*) FROM pg_indexes WHERE tablename = 'seen'") == [(2,)]


@pytest.mark.parametrize(("ends", "rows"), [("commit", ["2"]), ("rollback", ["1", "2"])])
def test_key_held_by_an_open_transaction_is_decided_when_that_ends(
    bench: MakeBench, ends: str, rows: list[str]
) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.sink.attach(writer.store.open())
    with psycopg.connect(writer.url) as other:
        other.execute("INSERT INTO seen VALUES ('a', 'orders', 9, 9)")
        thread = threading.Thread(
            target=lambda: writer.commit([{"id": "1", "event": "a", "v": 1}, {"id": "2", "event": "b", "v": 1}])
        )
        thread.start()
        _wait_for_waiter(writer.url)
        getattr(other, ends)()
    thread.join(10)
    assert writer.column() == rows


def _age(url: str, event: str, secs: int) -> None:
    ask(url, "UPDATE seen SET seen_at = now() - make_interval(secs => %s) WHERE event = %s", secs, event)


def _forget(writer: Bench, older_than_secs: float, limit: int = 100_000) -> int:
    with psycopg.connect(writer.url) as connection:
        return forget_keys(connection, writer.pipeline, older_than_secs, limit)


def test_only_keys_older_than_the_retention_are_forgotten(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([{"id": f"{n}", "event": f"{n}", "v": 1} for n in range(5)])
    _age(writer.url, "1", 100)
    _age(writer.url, "3", 3600)
    assert _forget(writer, 600) == 1
    assert writer.column("event", "seen") == ["0", "1", "2", "4"]
    writer.commit([{"id": "again", "event": "3", "v": 1}, {"id": "no", "event": "1", "v": 1}], 5)
    assert writer.column() == ["0", "1", "2", "3", "4", "again"]


def test_keys_are_forgotten_in_steps_up_to_the_limit(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.sink.attach(writer.store.open())
    ask(
        writer.url,
        "INSERT INTO seen SELECT n::text, 'orders', 0, n, now() - interval '1 day' FROM generate_series(1, 12000) n",
    )
    assert _forget(writer, 60, limit=7_000) == 7_000
    assert _forget(writer, 60) == 5_000
    assert _forget(writer, 60) == 0


def test_forgetting_waits_for_nobody(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([{"id": f"{n}", "event": f"{n}", "v": 1} for n in range(3)])
    ask(writer.url, "UPDATE seen SET seen_at = now() - interval '1 day'")
    with psycopg.connect(writer.url) as other:
        other.execute("SELECT FROM seen WHERE event = '1' FOR UPDATE")
        assert _forget(writer, 60) == 2
    assert writer.column("event", "seen") == ["1"]


def test_gate_without_table_or_without_times_forgets_nothing(database: str) -> None:
    pipeline: cfg.Pipeline = pipeline_of(_COLUMNS, **_GATE)
    with psycopg.connect(database) as connection:
        assert forget_keys(connection, pipeline, 1, 10) == 0
        ask(database, "CREATE TABLE seen (event text PRIMARY KEY); INSERT INTO seen VALUES ('a')")
        assert forget_keys(connection, pipeline, 1, 10) == 0
    assert ask(database, "SELECT event FROM seen") == [("a",)]
