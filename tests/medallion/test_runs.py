"""A run is one execution: its id, its row in every store, its log file; a file of a run that is over is refused."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ingestd import logs, run_id
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.run_id import Run
from ingestd.stores.open import open_runs, open_store
from ingestd.stores.runs import CRASHED, ENDED, RUNNING, begin_run
from ingestd.stores.store import LedgerKey, Store


@pytest.fixture(params=["sqlite", "postgres"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> cfg.Store:
    """A fresh store of each kind."""
    if request.param == "postgres":
        return cfg.Store(url=str(request.getfixturevalue("database")))
    return cfg.Store(url=f"sqlite:///{tmp_path}/metadata.db")


@pytest.fixture
def store(options: cfg.Store) -> Iterator[Store]:
    """Open until the test ends."""
    opened = open_store(options, LedgerKey("bronze", "t"))
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def run() -> Iterator[Run]:
    """This process is a run for the test."""
    yield run_id.begin()
    run_id._state.clear()


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    made = [run_id.new_run_id(now_ms=now) for now in (1_700_000_000_000, 1_700_000_000_001, 1_900_000_000_000)]
    assert made == sorted(made)
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in made} == {(7, uuid.RFC_4122)}
    assert run_id.began_at(made[0]).timestamp() == 1_700_000_000
    assert len({run_id.new_run_id(now_ms=5) for _ in range(1000)}) == 1000


def test_children_are_part_of_the_run_they_were_forked_in(run: Run) -> None:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        inherited = run_id.current()
        os.write(writing, inherited.run_id.encode() if inherited else b"")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 100).decode() == run.run_id
    os.close(reading)
    os.close(writing)


def test_a_run_is_listed_until_it_ends_and_then_with_its_counts(options: cfg.Store, store: Store, run: Run) -> None:
    runs, connection = open_runs(options), store.open()
    assert runs.list(connection) == []
    assert begin_run(runs, connection, run, ["bronze", "copy"]) == []
    assert begin_run(runs, connection, run, ["bronze", "copy"]) == []
    (row,) = runs.list(connection)
    assert (row.status, row.finished, row.pipelines, row.ended_at) == (RUNNING, False, ["bronze", "copy"], None)
    assert runs.end(connection, run.run_id, ENDED, {"bronze": {"records": 7}})
    assert not runs.end(connection, run.run_id, CRASHED)
    (row,) = runs.list(connection)
    assert (row.status, row.finished, row.counts) == (ENDED, True, {"bronze": {"records": 7}})
    assert row.ended_at is not None and row.started_at <= row.ended_at


def test_only_runs_of_this_host_whose_process_is_gone_are_marked_crashed(
    options: cfg.Store, store: Store, run: Run
) -> None:
    runs, connection = open_runs(options), store.open()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    was = run_id.process_start(gone.pid)
    gone.wait()
    crashed = Run(run_id.new_run_id(), run.host, gone.pid, was or "")
    number_used_again = structs.replace(run, run_id=run_id.new_run_id(), pid_start="another boot.1")
    elsewhere = Run(run_id.new_run_id(), "another-host", gone.pid, was or "")
    beside = structs.replace(run, run_id=run_id.new_run_id())
    runs.prepare(connection)
    for one in (crashed, number_used_again, elsewhere, beside):
        runs.begin(connection, one, ["bronze"])
    assert set(begin_run(runs, connection, run, ["bronze"])) == {crashed.run_id, number_used_again.run_id}
    found = {row.run_id: row.status for row in runs.list(connection)}
    assert [found[one.run_id] for one in (crashed, elsewhere, beside, run)] == [CRASHED, RUNNING, RUNNING, RUNNING]


def test_no_file_is_committed_for_a_run_that_is_over(options: cfg.Store, store: Store, run: Run) -> None:
    runs = open_runs(options)
    begin_run(runs, store.open(), run, ["bronze"])
    with store.side_transaction() as tx:
        runs.hold(tx.cursor, run.run_id)
    runs.end(store.open(), run.run_id, CRASHED)
    for over in (run.run_id, run_id.new_run_id()):
        with pytest.raises(Halt, match=over), store.side_transaction() as tx:
            runs.hold(tx.cursor, over)


def test_the_log_file_of_a_run_has_every_line_as_json(
    tmp_path: Path, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    file = run_id.log_file(str(tmp_path / "logs"))
    assert file == tmp_path / "logs" / f"run_{run.run_id}.log"
    masked: Callable[[str], str] = lambda text: text.replace("hunter2", "***")  # noqa: E731
    try:
        logs.configure("info", "human", "supervisor", masked, file)
        logs.get_logger().info("claimed", partition=3, password="hunter2")
        logs.configure("info", "json", "worker-1", masked, file)
        try:
            raise ValueError("no\nsuch")
        except ValueError:
            logs.get_logger().exception("crashed")
        logs.configure("info", "auto", "worker-1")
        logs.get_logger().info("not in the file")
    finally:
        logs.configure("info", "auto", "tests")
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["event"], line["process"], line["level"]) for line in lines] == [
        ("claimed", "supervisor", "info"),
        ("crashed", "worker-1", "error"),
    ]
    assert lines[0]["partition"] == 3
    assert lines[0]["password"] == "***"
    assert lines[0]["timestamp"].endswith("Z")
    assert "ValueError" in lines[1]["exception"]
    assert "not in the file" in capfd.readouterr().err
