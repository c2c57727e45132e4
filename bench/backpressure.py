"""Lag and backpressure over time, through a burst and through a database that stands still. Draws them as well.

The database is stalled by SIGSTOP of the daemon's own backends: connections stay open and nothing answers. Lag is what
was produced less the cursors, read four times a second; backpressure and queues are what /api/partitions says, which
the daemon renews once a second.
"""

import itertools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from msgspec import Struct, to_builtins

from bench import broker, cpu
from bench.contenders import fetch_view, last_line, start_ingestd, write_config
from bench.latency import await_claims
from bench.problem import Problem
from bench.servers import Servers
from ingestd.demo.load import PARTITIONS, TOPIC, Load
from ingestd.embedded.child import end_child, free_ports

_EVERY_SECS = 0.25
_RECOVER_SECS = 120.0
_SHADES = {"burst": "tab:orange", "stall": "tab:gray"}
_PIPELINE = """[[pipeline]]
name = "sales"
topic = "sales"
column = [
  { name = "id", type = "text", required = true },
  { name = "ts", type = "timestamptz", required = true },
  { name = "store_id", type = "text", required = true },
  { name = "amount_usd", type = "numeric(12,2)", required = true },
  { name = "channel", type = "text", required = true },
]

[pipeline.table]
name = "public.sales_events"
mode = "insert"
key = ["id"]
create = true
"""


class Course(NamedTuple):
    """The rate, how many times it the burst is, and how long each part takes."""

    per_sec: float
    burst_factor: float
    calm_secs: float
    burst_secs: float
    stall_secs: float


class Sample(Struct):
    """One look; `backpressure` is the share of the last 5 s in which reading waited for writing."""

    secs: float
    phase: str
    produced: int
    committed: int
    lag: int
    backpressure: float
    queued_rows: int
    worker_rss_mb: float


class _Recorder:
    def __init__(self, status_url: str, load: Load, connection: psycopg.Connection[Any], before: int):
        self._status_url, self._load, self._connection, self._before = status_url, load, connection, before
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def during(self, phase: str, secs: float) -> None:
        """Samples of a phase."""
        ends_at = time.monotonic() + secs
        while time.monotonic() < ends_at:
            self.take(phase)
            time.sleep(_EVERY_SECS)

    def until_caught_up(self, phase: str) -> float:
        """Samples until lag is under a second's worth; the seconds it took."""
        began = time.monotonic()
        while self.take(phase).lag > self._load.per_sec:
            if time.monotonic() - began > _RECOVER_SECS:
                raise Problem(f"still {self.samples[-1].lag:,} records behind {_RECOVER_SECS:.0f} s after the {phase}")
            time.sleep(_EVERY_SECS)
        return time.monotonic() - began

    def take(self, phase: str) -> Sample:
        """One sample."""
        view = fetch_view(self._status_url)
        partitions = view["pipelines"][0]["partitions"]
        workers = [child["pid"] for child in view["children"] if child["pid"] and child["name"].startswith("worker")]
        found = self._connection.execute("SELECT sum(next_offset) FROM ingestd.cursors").fetchone()
        committed = int(found[0]) - self._before if found else 0
        sample = Sample(
            secs=time.monotonic() - self._began,
            phase=phase,
            produced=self._load.queued,
            committed=committed,
            lag=max(0, self._load.queued - committed),
            backpressure=max((partition["backpressure"] for partition in partitions), default=0.0),
            queued_rows=sum(partition["queued_rows"] for partition in partitions),
            worker_rss_mb=max((cpu.rss_mb(pid) for pid in workers), default=0.0),
        )
        self.samples.append(sample)
        return sample


def measure_backpressure(servers: Servers, course: Course) -> dict[str, Any]:
    """Samples and figures of one course, every sale accounted for at its end.

    Raises: Problem when it does not catch up, or a row is missing.
    """
    admin = broker.connect(servers.properties)
    if not broker.partition_count(admin, TOPIC):
        broker.create_topic(admin, TOPIC, PARTITIONS)
    before = sum(end for _, end in broker.spans(servers.properties, TOPIC))
    with servers.connect() as connection, tempfile.TemporaryDirectory(prefix="ingestd-bench-") as directory:
        work = Path(directory)
        connection.execute("DROP TABLE IF EXISTS public.sales_events")
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        port = free_ports(1)[0]
        daemon = start_ingestd(write_config(work, servers, _PIPELINE, port), work)
        load = Load(servers.bootstrap_servers, course.per_sec)
        try:
            await_claims(connection, PARTITIONS, work)
            recorder = _Recorder(f"http://127.0.0.1:{port}", load, connection, before)
            load.start()
            recoveries = _follow(recorder, load, connection, course)
            sent = load.stop() + before
            _await_rows(connection, sent, work)
        finally:
            load.stop()
            end_child(daemon, signal.SIGTERM, timeout_secs=30)
    samples = recorder.samples
    return {
        "samples": [to_builtins(sample) for sample in samples],
        "figures": {**_figures(samples, course), **recoveries, "sales produced and found": float(sent)},
    }


def _follow(recorder: _Recorder, load: Load, connection: psycopg.Connection[Any], course: Course) -> dict[str, float]:
    recorder.during("calm", course.calm_secs)
    load.change(course.burst_factor)
    recorder.during("burst", course.burst_secs)
    load.change(1 / course.burst_factor)
    after_burst = recorder.until_caught_up("after the burst")
    recorder.during("calm", course.calm_secs)
    found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'ingestd%'").fetchall()
    stalled = [int(row[0]) for row in found]
    try:
        for pid in stalled:
            os.kill(pid, signal.SIGSTOP)
        recorder.during("stall", course.stall_secs)
    finally:
        for pid in stalled:
            os.kill(pid, signal.SIGCONT)
    after_stall = recorder.until_caught_up("after the stall")
    recorder.during("calm", course.calm_secs)
    return {"caught up after the burst in s": after_burst, "caught up after the stall in s": after_stall}


def _await_rows(connection: psycopg.Connection[Any], sent: int, work: Path) -> None:
    deadline = time.monotonic() + _RECOVER_SECS
    while time.monotonic() < deadline:
        found = connection.execute("SELECT count(*) FROM public.sales_events").fetchone()
        if found and found[0] == sent:
            return
        time.sleep(0.1)
    raise Problem(f"{found} rows of {sent:,} sales: {last_line(work / 'ingestd.log')}")


def _figures(samples: list[Sample], course: Course) -> dict[str, float]:
    def most(field: str, *phases: str) -> float:
        return max((float(getattr(sample, field)) for sample in samples if sample.phase in phases), default=0.0)

    return {
        "asked records/s": course.per_sec,
        "asked records/s in the burst": course.per_sec * course.burst_factor,
        "committed records/s at most": max(rates(samples, "committed")[1:], default=0.0),
        "lag at most, calm": most("lag", "calm"),
        "lag at most, burst": most("lag", "burst", "after the burst"),
        "lag at most, stall": most("lag", "stall", "after the stall"),
        "backpressure at most, burst %": 100 * most("backpressure", "burst", "after the burst"),
        "backpressure at most, stall %": 100 * most("backpressure", "stall", "after the stall"),
        "RSS of a worker at most, calm MB": most("worker_rss_mb", "calm"),
        "RSS of a worker at most, stall MB": most("worker_rss_mb", "stall", "after the stall"),
    }


def rates(samples: list[Sample], field: str) -> list[float]:
    """Growth a second between two samples; as many as samples, the first is 0."""
    found = [0.0]
    for earlier, later in itertools.pairwise(samples):
        grown = getattr(later, field) - getattr(earlier, field)
        found.append(grown / max(later.secs - earlier.secs, 1e-3))
    return found


def draw(samples: list[Sample], path: Path) -> None:
    """The course as a picture: rates, lag, backpressure; burst and stall shaded."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = [sample.secs for sample in samples]
    figure, (speed, lag, pressure) = pyplot.subplots(3, 1, figsize=(10, 8), sharex=True)
    speed.plot(times, rates(samples, "produced"), label="produced/s")
    speed.plot(times, rates(samples, "committed"), label="committed/s")
    speed.legend(loc="upper right")
    lag.plot(times, [sample.lag for sample in samples], color="tab:red")
    pressure.plot(times, [100 * sample.backpressure for sample in samples], color="tab:purple")
    for axes, title in ((speed, "records/s"), (lag, "lag, records"), (pressure, "backpressure, % of the last 5 s")):
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
        for phase, color in _SHADES.items():
            span = [sample.secs for sample in samples if sample.phase == phase]
            axes.axvspan(span[0], span[-1] + _EVERY_SECS, color=color, alpha=0.2, linewidth=0)
    pressure.set_xlabel("s (orange: burst, gray: the database stands still)")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
