"""Faults of the environment that the real server was made to raise: nothing is lost, doubled or buried.

A cut connection has no SQLSTATE: tests/stores/test_crash_points.py cuts it at every statement.
"""

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingestd.embedded.postgres import PostgresServer
from ingestd.errors import Halt, IngestdError, Retryable
from ingestd.stores.faults import UnknownFault
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import Bench, ask, pipeline_of
from tests.sinks.refusals import triggered

_COLUMNS = {"id": "text", "v": "int4", "w": "text"}
_DDL = "CREATE TABLE orders (id text PRIMARY KEY, v int, w text)"
_GATES: dict[str, dict[str, Any]] = {
    "insert": {},
    "gate": {"dedupe": {"table": "seen", "key": "id", "create": True}},
}


def _values(first: int = 0, count: int = 20) -> list[dict[str, Any]]:
    return [{"id": f"{n:03}", "v": 1, "w": "a"} for n in range(first, first + count)]


def _claim_again(writer: Bench) -> None:
    """What the worker does after a Retryable."""
    writer.store.close()
    writer.claim([0], dict(writer.writer.epochs))


def _retryable(writer: Bench, sqlstate: str, values: list[dict[str, Any]]) -> None:
    """The commit fails with this SQLSTATE, asks to be tried again, and leaves nothing."""
    before = writer.cursor(), writer.column()
    with pytest.raises(Retryable) as fault:
        writer.commit(values, before[0])
    assert sqlstate in str(fault.value)
    assert not isinstance(fault.value, UnknownFault)
    assert (writer.cursor(), writer.column(), writer.dead()) == (*before, [])
    _claim_again(writer)


def _goes_on(writer: Bench, values: list[dict[str, Any]]) -> None:
    writer.commit(values, writer.cursor())
    assert writer.column() == [value["id"] for value in values]
    assert writer.dead() == []


def _while_locked(writer: Bench, act: str) -> list[IngestdError]:
    """What a commit raises that waits for a locked table while `act` happens to its session."""
    raised: list[IngestdError] = []
    writer.sink.attach(writer.store.open())
    pid = writer.store.open().info.backend_pid

    def commit() -> None:
        try:
            writer.commit(_values())
        except IngestdError as error:
            raised.append(error)

    with psycopg.connect(writer.url) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=commit)
        thread.start()
        deadline = time.monotonic() + 10
        while not ask(writer.url, "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", pid) and thread.is_alive():
            assert time.monotonic() < deadline, "it does not wait for the lock"
            threading.Event().wait(0.02)
        if act:
            ask(writer.url, act, pid)
        thread.join(20)
    return raised


@pytest.mark.parametrize("behind", _GATES)
@pytest.mark.parametrize(
    ("act", "sqlstate"),
    [("SELECT pg_cancel_backend(%s)", "57014"), ("SELECT pg_terminate_backend(%s)", "57P01"), ("", "55P03")],
    ids=["cancelled", "terminated", "lock_timeout"],
)
def test_commit_that_is_stopped_while_it_waits_is_tried_again(
    bench: MakeBench, behind: str, act: str, sqlstate: str
) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATES[behind])
    if not act:
        session = writer.store.open()
        session.execute("SET lock_timeout = '200ms'")
        session.commit()
    (fault,) = _while_locked(writer, act)
    assert isinstance(fault, Retryable) and not isinstance(fault, UnknownFault)
    assert sqlstate in str(fault)
    _claim_again(writer)
    _goes_on(writer, _values())


@pytest.mark.parametrize("behind", _GATES)
def test_deadlock_over_a_second_unique_index_is_retried_and_loses_nothing(bench: MakeBench, behind: str) -> None:
    """Each writer holds the value that the other wants next; the key's order cannot help."""
    ddl = triggered("IF NEW.id IN ('b', 'd') THEN PERFORM pg_sleep(0.4); END IF;", "id text PRIMARY KEY, v int, w text")
    first = bench(ddl + "; CREATE UNIQUE INDEX ON orders (w)", _COLUMNS)
    writers = [
        bench("", _COLUMNS, (1,), **_GATES[behind]),
        bench("", _COLUMNS, (2,), **_GATES[behind]),
    ]
    batches = [
        [{"id": "a", "v": 1, "w": "x"}, {"id": "b", "v": 1, "w": "y"}],
        [{"id": "c", "v": 1, "w": "y"}, {"id": "d", "v": 1, "w": "x"}],
    ]
    for writer in writers:
        writer.sink.attach(writer.store.open())
    faults: list[str] = []
    together = threading.Barrier(2)

    def work(n: int) -> None:
        writer = writers[n]
        together.wait(10)
        for _ in range(5):
            try:
                writer.commit(batches[n], 0, n + 1)
                return
            except Retryable as fault:
                faults.append(str(fault))
                writer.store.close()
                writer.claim([n + 1], dict(writer.writer.epochs))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert any("40P01" in fault for fault in faults), faults
    rows = ask(first.url, "SELECT id FROM orders")
    dead = ask(first.url, 'SELECT partition, "offset", sqlstate FROM ingestd.dead_letters')
    assert len(rows) == len(dead) == 2, "two values of the second index, two records refused by it"
    assert {sqlstate for _, _, sqlstate in dead} == {"23505"}
    written = {batches[partition - 1][offset]["id"] for partition, offset, _ in dead} | {row[0] for row in rows}
    assert written == {"a", "b", "c", "d"}
    if behind == "gate":
        assert ask(first.url, "SELECT id FROM seen ORDER BY 1") == sorted(rows)


def test_out_of_shared_memory_is_retried(bench: MakeBench) -> None:
    body = "IF NEW.id = '007' AND current_setting('ingestd.test', true) = 'on' THEN"
    locks = f"{body} PERFORM pg_advisory_xact_lock(n) FROM generate_series(1, 500000) n; END IF;"
    writer = bench(triggered(locks), _COLUMNS)
    name = writer.url.rsplit("/", 1)[1]
    ask(writer.url, f"ALTER DATABASE {name} SET ingestd.test = 'on'")
    _claim_again(writer)
    _retryable(writer, "53200", _values())
    ask(writer.url, f"ALTER DATABASE {name} RESET ingestd.test")
    _claim_again(writer)
    _goes_on(writer, _values())


def test_database_that_became_read_only_is_retried(bench: MakeBench) -> None:
    """A standby after a failover."""
    writer = bench(_DDL, _COLUMNS)
    writer.sink.attach(session := writer.store.open())
    session.execute("SET default_transaction_read_only = on")
    session.commit()
    _retryable(writer, "25006", _values())
    _goes_on(writer, _values())


@pytest.fixture
def tiny_disk(server_directory: Path, postgres: PostgresServer) -> Iterator[Path]:
    """A file system of 4 MB that PostgreSQL may write to."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root; SQLSTATE 53100 is raised by a trigger elsewhere")
    place = server_directory / "tiny"
    place.mkdir()
    owner = next(path for path in (server_directory / "postgres").rglob("PG_VERSION")).stat()
    options = f"size=4m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this container may not mount; SQLSTATE 53100 is raised by a trigger elsewhere")
    try:
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE tiny LOCATION '{place}'".encode())
            yield place
            connection.execute("DROP TABLESPACE tiny")
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


@pytest.mark.parametrize("behind", _GATES)
def test_full_disk_is_retried_and_buries_nothing(tiny_disk: Path, bench: MakeBench, behind: str) -> None:
    writer = bench(
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text) TABLESPACE tiny", _COLUMNS, **_GATES[behind]
    )
    ask(writer.url, "CREATE TABLE filler (w text) TABLESPACE tiny; ALTER TABLE filler ALTER w SET STORAGE PLAIN")
    with pytest.raises(psycopg.errors.DiskFull):
        ask(writer.url, "INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, 1000)")
    values = [{**value, "w": "w" * 4_000} for value in _values(count=60)]
    ask(writer.url, "ALTER TABLE orders ALTER w SET STORAGE PLAIN")
    with pytest.raises(psycopg.errors.DiskFull):
        ask(writer.url, "CREATE TABLE rest TABLESPACE tiny AS SELECT repeat('x', 2000) FROM generate_series(1, 2000)")
    _retryable(writer, "53100", values)
    ask(writer.url, "DROP TABLE filler")
    _goes_on(writer, values)


@pytest.mark.parametrize("behind", _GATES)
@pytest.mark.parametrize(
    ("change", "sqlstate", "mend"),
    [
        ("DROP TABLE orders", "42P01", _DDL),
        ("ALTER TABLE orders DROP COLUMN w", "42703", "ALTER TABLE orders ADD COLUMN w text"),
        (
            "ALTER TABLE orders ALTER v TYPE date USING NULL",
            "42804",
            "ALTER TABLE orders ALTER v TYPE int USING NULL::int",
        ),
    ],
)
def test_table_changed_while_running_halts_and_goes_on_when_mended(
    bench: MakeBench, behind: str, change: str, sqlstate: str, mend: str
) -> None:
    writer = bench(_DDL, _COLUMNS, direct=False, **_GATES[behind])
    writer.sink.attach(writer.store.open())
    ask(writer.url, change)
    with pytest.raises(Halt) as halt:
        writer.commit(_values())
    assert sqlstate in str(halt.value)
    assert (writer.cursor(), writer.dead()) == (0, [])
    ask(writer.url, mend)
    _claim_again(writer)
    _goes_on(writer, _values())
    if behind == "gate":
        assert writer.column("id", "seen") == writer.column()


def test_schema_that_is_missing_halts(database: str) -> None:
    writer = Bench(database, pipeline_of(_COLUMNS, table="nowhere.orders", create=True))
    with pytest.raises(Halt, match="3F000"):
        writer.commit(_values())
    writer.store.close()
