"""One run of one contender, measured from outside. Knows nothing of how rounds are arranged.

rows/s steady = (N - rows of the first visible commit) / (all rows visible - first row visible); CPU per row is that of
the same span; a contender that has read ahead when its first row is visible looks better there than it is, so the
CPU of the whole run is kept as well. Visibility is a poll of the table: 20 ms until the first row, then 50 ms.
"""

import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from msgspec import Struct
from psycopg import errors

from bench import cpu
from bench.contenders import Contender, Started, children_by_name, last_line
from bench.problem import Problem
from bench.servers import PARTITIONS, Load, Servers
from bench.tables import Target

_FIRST_POLL_SECS = 0.02
_POLL_SECS = 0.05
_NAMES_SECS = 0.25
_TIMEOUT_SECS = 600.0
_END_SECS = 30.0


class Run(Struct):
    """What one run showed; microseconds are CPU time per row of the steady span."""

    contender: str
    target: str
    rows: int
    dead_letters: int
    first_commit_rows: int
    startup_secs: float
    steady_secs: float
    rows_per_sec: float
    total_rows_per_sec: float
    process_us: float
    worker_us: float | None
    process_whole_us: float
    """From the start to the last row: imports and start-up are in it, and so are rows that were read ahead."""
    worker_whole_us: float | None
    postgres_us: float
    kafka_us: float
    peak_rss_mb: float
    worker_peak_rss_mb: float | None


class _Snapshot(NamedTuple):
    at: float
    by_pid: dict[int, float]
    postgres: float
    kafka: float


class _Watch:
    """The looking on; one instance per run."""

    def __init__(self, servers: Servers, contender: Contender, target: Target, connection: psycopg.Connection[Any]):
        self._servers, self._contender, self._target, self._connection = servers, contender, target, connection
        self.names: dict[str, int] = {}
        self._looked_at = 0.0

    def until(self, started: Started, meter: cpu.Meter, work: Path, poll_secs: float, all_rows: bool) -> _Snapshot:
        """Wait for the first row or for all of them."""
        deadline = time.monotonic() + _TIMEOUT_SECS
        while True:
            meter.sample()
            ended = [child.poll() for child in started.processes]
            if self._is_there(started, all_rows):
                self._learn_names(started)
                return self.snapshot(meter)
            if all_rows:
                self._learn_names(started)
            if any(ended) or (None not in ended and not self._is_there(started, all_rows)):
                logs = "; ".join(last_line(path) for path in sorted(work.glob("*.log")))
                raise Problem(f"{self._contender.name}: ended with {ended} before all was in: {logs}")
            if time.monotonic() > deadline:
                raise Problem(f"{self._contender.name}: not done after {_TIMEOUT_SECS:.0f} s")
            time.sleep(poll_secs)

    def snapshot(self, meter: cpu.Meter) -> _Snapshot:
        at = time.monotonic()
        meter.sample(scan=True)
        postgres, kafka = cpu.tree_secs(self._servers.postgres_pid), cpu.tree_secs(self._servers.kafka_pid)
        return _Snapshot(at, dict(meter.secs), postgres, kafka)

    def _learn_names(self, started: Started) -> None:
        # Not more often: each look costs the status process some of the CPU that is being measured.
        workers = sum(name.startswith("worker") for name in self.names)
        if started.status_url and workers < PARTITIONS and time.monotonic() - self._looked_at > _NAMES_SECS:
            self._looked_at = time.monotonic()
            self.names |= children_by_name(started.status_url)

    def count(self) -> int:
        found = self._connection.execute(f"SELECT count(*) FROM {self._target.table}").fetchone()
        return int(found[0]) if found else 0

    def _is_there(self, started: Started, all_rows: bool) -> bool:
        try:
            if all_rows:
                return self._contender.is_done(self._connection, started)
            found = self._connection.execute(f"SELECT EXISTS (SELECT FROM {self._target.table})").fetchone()
            return bool(found and found[0])
        except errors.UndefinedTable:
            return False


def measure(servers: Servers, contender: Contender, target: Target, load: Load) -> Run:
    """One run on fresh tables, verified by counting.

    Raises: Problem when the contender ends early, or rows are missing or doubled.
    """
    with servers.connect() as connection, tempfile.TemporaryDirectory(prefix="ingestd-bench-") as directory:
        work = Path(directory)
        contender.prepare(connection)
        connection.execute("CHECKPOINT")
        watch = _Watch(servers, contender, target, connection)
        began = time.monotonic()
        started = contender.start(work)
        try:
            meter = cpu.Meter([child.pid for child in started.processes])
            if started.status_url is None:
                began = time.monotonic()
            before = watch.snapshot(meter)
            started.release()
            first = watch.until(started, meter, work, _FIRST_POLL_SECS, all_rows=False)
            first_rows = watch.count()
            last = watch.until(started, meter, work, _POLL_SECS, all_rows=True)
            rows = watch.count()
            dead = _verify(connection, contender, target, load, rows)
        finally:
            _end(started.processes)
    workers = [pid for name, pid in watch.names.items() if name.startswith("worker")]
    if rows == first_rows:
        # All in one look: so few rows have no steady span, and the whole run has to stand for it.
        first, first_rows = before._replace(at=began), 0
    steady_rows, steady_secs = rows - first_rows, last.at - first.at

    def microseconds(pids: list[int]) -> float:
        spent = sum(last.by_pid.get(pid, 0.0) - first.by_pid.get(pid, 0.0) for pid in pids)
        return spent / steady_rows * 1e6

    def whole_microseconds(pids: list[int]) -> float:
        # What came before is the COPY limit's encoding, which does not count.
        spent = sum(last.by_pid.get(pid, 0.0) - before.by_pid.get(pid, 0.0) for pid in pids)
        return spent / max(1, rows) * 1e6

    return Run(
        contender=contender.name,
        target=target.name,
        rows=rows,
        dead_letters=dead,
        first_commit_rows=first_rows,
        startup_secs=first.at - began,
        steady_secs=steady_secs,
        rows_per_sec=(rows - first_rows) / max(steady_secs, 1e-6),
        total_rows_per_sec=rows / (last.at - began),
        process_us=microseconds(list(last.by_pid)),
        worker_us=microseconds(workers) if workers else None,
        process_whole_us=whole_microseconds(list(last.by_pid)),
        worker_whole_us=whole_microseconds(workers) if workers else None,
        postgres_us=(last.postgres - first.postgres) / steady_rows * 1e6,
        kafka_us=(last.kafka - first.kafka) / steady_rows * 1e6,
        peak_rss_mb=sum(meter.peak_mb.values()),
        worker_peak_rss_mb=max((meter.peak_mb.get(pid, 0.0) for pid in workers), default=None),
    )


def _verify(connection: psycopg.Connection[Any], contender: Contender, target: Target, load: Load, rows: int) -> int:
    found = connection.execute(f"SELECT count(DISTINCT tx_id) FROM {target.table}").fetchone()
    distinct = int(found[0]) if found else 0
    dead = 0
    if load.bad:
        counted = connection.execute("SELECT count(*) FROM ingestd.dead_letters").fetchone()
        dead = int(counted[0]) if counted else 0
    if not rows == distinct == load.messages - load.bad or dead != load.bad:
        raise Problem(
            f"{contender.name}: {rows:,} rows ({distinct:,} different) and {dead:,} dead letters of {load.messages:,} "
            f"records with {load.bad:,} bad ones"
        )
    return dead


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for child in processes:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in processes:
        try:
            child.wait(_END_SECS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
