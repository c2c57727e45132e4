"""Time from produce to visible row, at a rate. Knows nothing of results as files.

Each record carries partition and number; one partition commits in order, so seeing the highest number of a partition
proves that all lower ones are visible. A reader asks for the four highest numbers, by index, again and again with a
pause of 0.3 ms: the distance between two looks is the resolution, and it is reported. Records are sent by a second
process, so that reader and sender do not wait for each other's interpreter. Times are CLOCK_MONOTONIC of this machine.
"""

import itertools
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer
from psycopg import errors

from bench import broker
from bench.contenders import last_line, start_ingestd, write_config
from bench.problem import Problem
from bench.servers import PARTITIONS, Servers
from ingestd.demo.load import Pace
from ingestd.embedded.child import end_child, free_ports

_TABLE = "CREATE TABLE latency (part int4, seq int8, note text, PRIMARY KEY (part, seq))"
_LOOK = "SELECT " + ", ".join(
    f"coalesce((SELECT max(seq) FROM latency WHERE part = {part}), -1)" for part in range(PARTITIONS)
)
_PIPELINE = """[[pipeline]]
name = "latency"
topic = "{topic}"
column = [
  {{ name = "part", type = "int4", required = true }},
  {{ name = "seq", type = "int8", required = true }},
  {{ name = "note", type = "text", required = true }},
]

[pipeline.table]
name = "latency"
mode = "insert"
key = ["part", "seq"]
"""
_PAUSE_SECS = 0.0003
_LATE_SECS = 30.0
_WARM_UP = 50
_CLAIM_SECS = 60.0
Look = tuple[int, tuple[int, ...]]


def measure_latency(servers: Servers, per_sec: float, secs: float) -> dict[str, Any]:
    """Percentiles in ms over all records of the run but the first few, which meet cold caches.

    Raises: Problem when a record is not visible 30 s after the last one was sent.
    """
    topic = f"latency-{time.time_ns()}"
    count = max(_WARM_UP * 2, int(per_sec * secs))
    broker.create_topic(broker.connect(servers.properties), topic, PARTITIONS)
    with servers.connect() as connection, tempfile.TemporaryDirectory(prefix="ingestd-bench-") as directory:
        work = Path(directory)
        connection.execute("DROP TABLE IF EXISTS latency")
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        connection.execute(_TABLE)
        config = write_config(work, servers, _PIPELINE.format(topic=topic), free_ports(1)[0])
        daemon = start_ingestd(config, work)
        try:
            await_claims(connection, PARTITIONS, work)
            sent, looks = _run(servers, connection, topic, per_sec, count, work)
        finally:
            end_child(daemon, signal.SIGTERM, timeout_secs=30)
    return {"per_sec": per_sec, **_figures(sent, looks)}


def await_claims(connection: psycopg.Connection[Any], partitions: int, work: Path) -> None:
    """Return when the daemon has claimed all partitions: records sent before would measure its start.

    Raises: Problem after a minute.
    """
    deadline = time.monotonic() + _CLAIM_SECS
    while time.monotonic() < deadline:
        try:
            found = connection.execute("SELECT count(*) FROM ingestd.cursors WHERE epoch > 0").fetchone()
        except errors.UndefinedTable:
            found = None
        if found and found[0] >= partitions:
            return
        time.sleep(0.05)
    raise Problem(f"the daemon has not claimed its partitions: {last_line(work / 'ingestd.log')}")


def _run(
    servers: Servers, connection: psycopg.Connection[Any], topic: str, per_sec: float, count: int, work: Path
) -> "tuple[array[int], list[Look]]":
    times = work / "sent"
    arguments = [servers.bootstrap_servers, topic, str(per_sec), str(count), str(times)]
    command = [sys.executable, "-m", "bench.latency", *arguments]
    with (work / "sender.log").open("wb") as log:
        sender = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=log, stderr=log)
    looks: list[Look] = []
    wanted = tuple(len(range(part, count, PARTITIONS)) - 1 for part in range(PARTITIONS))
    ended_at = 0.0
    while True:
        found = connection.execute(_LOOK, prepare=True).fetchone()
        assert found is not None
        looks.append((time.monotonic_ns(), found))
        if found == wanted:
            break
        if sender.poll() is not None:
            ended_at = ended_at or time.monotonic()
            if sender.returncode or time.monotonic() - ended_at > _LATE_SECS:
                logs = "; ".join(last_line(path) for path in sorted(work.glob("*.log")))
                raise Problem(f"latency at {per_sec}/s: visible {found} of {wanted}: {logs}")
        time.sleep(_PAUSE_SECS)
    sender.wait()
    sent = array("q")
    sent.frombytes(times.read_bytes())
    return sent, looks


def _figures(sent: "array[int]", looks: list[Look]) -> dict[str, Any]:
    ages_ms: list[float] = []
    seen = [-1] * PARTITIONS
    for at_ns, highest in looks:
        for part in range(PARTITIONS):
            for seq in range(seen[part] + 1, highest[part] + 1):
                number = seq * PARTITIONS + part
                if number >= _WARM_UP:
                    ages_ms.append((at_ns - sent[number]) / 1e6)
            seen[part] = max(seen[part], highest[part])
    gaps = [(later[0] - earlier[0]) / 1e6 for earlier, later in itertools.pairwise(looks)]
    cuts = statistics.quantiles(ages_ms, n=100, method="inclusive")
    return {
        "records": len(ages_ms),
        "p50_ms": cuts[49],
        "p90_ms": cuts[89],
        "p99_ms": cuts[98],
        "max_ms": max(ages_ms),
        "resolution_p50_ms": statistics.median(gaps),
        "resolution_p99_ms": statistics.quantiles(gaps, n=100, method="inclusive")[98],
    }


def send(bootstrap_servers: str, topic: str, per_sec: float, count: int, times: Path) -> None:
    """The sender: records in turn over the partitions, each at once (no linger); its send times go to a file."""
    # Few requests in flight: without a limit each record is a request of its own, and a busy broker falls behind them.
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 0, "max.in.flight": 5})
    producer.list_topics(topic, timeout=broker.CONNECT_SECS)
    sent = array("q", bytes(8 * count))
    rng = random.Random(1)
    pace, number = Pace(per_sec), 0
    while number < count:
        for _ in range(pace.due(count - number)):
            seq, part = divmod(number, PARTITIONS)
            value = b'{"part":%d,"seq":%d,"note":"%032x"}' % (part, seq, rng.getrandbits(128))
            sent[number] = time.monotonic_ns()
            producer.produce(topic, value, partition=part)
            number += 1
        producer.poll(0)
        # A little jitter, or a slow rate would meet the daemon's own rhythm always at the same point.
        time.sleep(min(pace.wait_secs() * (0.5 + rng.random() / 2), 0.5))
    if producer.flush(30):
        sys.exit("not everything was acknowledged")
    times.write_bytes(sent.tobytes())


if __name__ == "__main__":
    _bootstrap, _topic, _per_sec, _count, _times = sys.argv[1:]
    send(_bootstrap, _topic, float(_per_sec), int(_count), Path(_times))
