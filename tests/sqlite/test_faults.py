"""kill -9, a stopped worker, a locked file and a full disk, while 200,000 records flow into one SQLite file."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode, Retryable
from tests.fault.conftest import make_topic
from tests.fault.content import Feed, payments
from tests.fix_servers import MakeTopic, Produce
from tests.sqlite.bench import ask
from tests.sqlite.conftest import MakeBench
from tests.sqlite.flow import FileFlow, locked

pytestmark = pytest.mark.fault

RECORDS = 200_000
MakeFlow = Callable[..., FileFlow]


def _filled(kafka: KafkaServer, records: int) -> str:
    name = make_topic(kafka)
    feed = Feed(kafka.bootstrap_servers, name, payments(0))
    feed.send(records)
    assert feed.finish() == records
    return name


@pytest.fixture(scope="module")
def long_log(kafka: KafkaServer) -> str:
    """A topic of 200,000 payments, 1 % of them bad."""
    return _filled(kafka, RECORDS)


@pytest.fixture(scope="module")
def log(kafka: KafkaServer) -> str:
    """The same, shorter."""
    return _filled(kafka, 50_000)


@pytest.fixture
def flow(kafka: KafkaServer, tmp_path: Path) -> Iterator[MakeFlow]:
    made: list[FileFlow] = []

    def make(topic: str, **more: object) -> FileFlow:
        made.append(FileFlow(tmp_path, kafka.bootstrap_servers, topic, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.destroy()


def test_killed_workers_and_supervisors_lose_and_double_nothing(flow: MakeFlow, long_log: str) -> None:
    here = flow(long_log)
    daemon = here.start()
    for n in range(8):
        here.wait_for_progress(random.randrange(1, 6000))
        if n % 3 == 2:
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()
            daemon = here.start()
        else:
            daemon.wait(daemon.workers, "a worker")
            os.kill(random.choice(daemon.workers()), signal.SIGKILL)
    assert sum(here.cursors().values()) < RECORDS, "the faults came too late: the log was read"
    verdict = here.finish()
    assert verdict.problems == []
    assert verdict.dead > 0 and verdict.records == RECORDS


def test_worker_stopped_in_a_transaction_is_killed_and_the_others_go_on(
    flow: MakeFlow, log: str, topic: MakeTopic, produce: Produce
) -> None:
    here = flow(log, turns=600_000)
    here.other = topic()
    daemon = here.start()
    here.wait_for_progress(1)
    daemon.wait(lambda: here.cursors("other"), "the claim of the other pipeline")
    started = [e for e in daemon.events("worker started") if e["topic"] == log]
    os.kill(started[-1]["pid"], signal.SIGSTOP)
    began = time.monotonic()
    produce(here.other, ['{"id": 1}'])
    daemon.wait(lambda: here.cursors("other")[0] == 1, "the other pipeline's record", 15)
    assert time.monotonic() - began < 12
    daemon.wait(lambda: daemon.events("child killed"), "the end of the stopped worker", 15)
    assert here.finish().problems == []


def test_locked_file_is_waited_for_and_said(flow: MakeFlow, log: str, topic: MakeTopic, produce: Produce) -> None:
    here = flow(log)
    here.other = topic()
    daemon = here.start()
    daemon.wait(lambda: here.cursors("other"), "the claim of the other pipeline")
    workers = daemon.workers()
    with locked(here.path):
        # A worker in full flow may let nobody in before the log's end: this record comes while the lock is held.
        produce(here.other, ['{"id": 1}'])
        daemon.wait(lambda: daemon.events("retrying"), "the worker says that it waits", 20)
    assert "database is locked" in daemon.events("retrying")[0]["reason"]
    daemon.wait(lambda: here.cursors("other")[0] == 1, "the other pipeline's record", 20)
    assert daemon.workers() == workers
    assert here.finish().problems == []


def test_second_daemon_on_the_file_ends_with_one_line(flow: MakeFlow, log: str) -> None:
    """Also when another configuration names the file by another path."""
    here = flow(log)
    first = here.start()
    here.wait_for_progress(1)
    linked = Path(here.path).with_name("linked.db")
    linked.symlink_to(here.path)
    here.path = str(linked)
    second = here.start("two")
    assert second.exit_code(20) == ExitCode.STARTUP
    assert f"another daemon (pid {first.pid}) is using it" in second.log()
    assert len(second.log().splitlines()) == 1
    assert first.process.poll() is None
    here.daemons.remove(second)
    assert here.finish().problems == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs a privilege that this user has not")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_full_disk_is_waited_for_and_nothing_becomes_a_dead_letter(
    flow: MakeFlow, long_log: str, small_disk: Path
) -> None:
    here = flow(long_log, path=str(small_disk / "sink.db"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (8 << 20))
    daemon = here.start()
    daemon.wait(lambda: daemon.events("retrying"), "the disk to be full", 30)
    assert "SQLITE_FULL" in daemon.events("retrying")[0]["reason"] or "IOERR" in daemon.events("retrying")[0]["reason"]
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    assert here.finish().problems == []
    assert not daemon.events("worker ended")
    here.destroy()


def test_transaction_that_does_not_fit_is_retried_whole(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id TEXT PRIMARY KEY, v TEXT)", {"id": "text", "v": "text"})
    connection = writer.store.open()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    values = [{"id": f"{n}", "v": "x" * 500} for n in range(300)]
    with pytest.raises(Retryable, match="SQLITE_FULL"):
        writer.commit(values)
    assert writer.column() == [] and writer.dead() == [] and writer.cursor() == 0
    writer.store.close()
    assert writer.claim([0], dict(writer.writer.epochs)) == {0: 0}
    writer.commit(values)
    assert len(writer.column()) == 300
    assert ask(writer.path, "SELECT records, inserted FROM ingestd_cursors") == [(300, 300)]
