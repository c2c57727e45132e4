"""One worker into an SQLite file, beside a bare executemany of the same rows: `python -m bench sqlite`.

The bare side has its rows as tuples before the clock starts, in key order as ingestd's, with the same settings but
SQLite's own checkpoints; ingestd's side is the daemon: consume, decode, sort, convert, count, cursor.
"""

import argparse
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition

from bench import cpu
from bench.problem import Problem
from bench.results import save, spread
from bench.servers import Servers, load_transactions
from bench.tables import SKETCH
from ingestd.embedded.kafka import KafkaServer

BATCH_ROWS = 25_000
_COLUMNS = tuple(SKETCH.arrow.names)
_CREATE = (
    "CREATE TABLE q (tx_id TEXT PRIMARY KEY, user_id TEXT, amount REAL, currency TEXT, merchant TEXT, category TEXT,"
    " ts TEXT, source_system TEXT, transaction_type TEXT, processing_time_ms INTEGER)"
)
_CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "bench-sqlite"
[store]
url = "sqlite:///{path}"
[status]
enabled = false
"""
_POLL_SECS = 0.02
_TIMEOUT_SECS = 600.0


def measure(args: argparse.Namespace) -> int:
    """Run both in turn and save the result."""
    rates: dict[str, list[float]] = {"bare executemany": [], "ingestd, one worker": []}
    cpu_us: dict[str, list[float]] = {name: [] for name in rates}
    with tempfile.TemporaryDirectory(prefix="ingestd-bench-") as made, _broker(Path(made)) as kafka:
        directory = Path(made)
        load = load_transactions(kafka, args.rows)
        rows = _tuples(kafka.bootstrap_servers, load.topic, args.rows)
        for number in range(args.rounds):
            sides = [("bare executemany", 0), ("ingestd, one worker", 1)]
            for name, is_daemon in sides if number % 2 == 0 else sides[::-1]:
                path = directory / f"{number}-{is_daemon}.db"
                with contextlib.closing(_database(path)) as connection:
                    if is_daemon:
                        rate, used = _run_daemon(connection, path, kafka.bootstrap_servers, load.topic, args.rows)
                    else:
                        rate, used = _run_bare(connection, rows)
                rates[name].append(rate)
                cpu_us[name].append(used)
                print(f"round {number + 1}: {name}: {rate:,.0f} rows/s, {used:.1f} us of CPU a row", flush=True)
                path.unlink()
    ratios = [ours / bare for bare, ours in zip(*rates.values(), strict=True)]
    result = {
        "kind": "rates",
        "title": f"SQLite, {args.rows:,} transactions of ten columns, text key",
        "note": f"Batches of {BATCH_ROWS:,} rows, WAL, synchronous = FULL; SQLite {sqlite3.sqlite_version}.",
        "rates": {name: spread(found) for name, found in rates.items()},
        "cpu_us": {name: spread(found) for name, found in cpu_us.items()},
        "ratios": {"ingestd / bare executemany": spread(ratios)},
    }
    save("sqlite", result)
    return 0


@contextlib.contextmanager
def _broker(directory: Path) -> Iterator[Servers]:
    server = KafkaServer(directory / "kafka")
    server.start()
    try:
        yield Servers(server.bootstrap_servers, "", 0, 0)
    finally:
        server.kill()


def _database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute(_CREATE)
    return connection


def _tuples(bootstrap_servers: str, topic: str, count: int) -> list[tuple[object, ...]]:
    """The rows of the topic, as they come."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "bench", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, 20).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    rows: list[tuple[object, ...]] = []
    while len(rows) < count:
        found = consumer.consume(min(10_000, count - len(rows)), 10)
        if not found:
            raise Problem(f"topic {topic}: only {len(rows):,} of {count:,} records can be read")
        for message in found:
            record = orjson.loads(message.value() or b"")
            rows.append(tuple(record[field] for field in SKETCH.fields))
    consumer.close()
    return rows


def _run_bare(connection: sqlite3.Connection, rows: list[tuple[object, ...]]) -> tuple[float, float]:
    """(rows a second, microseconds of CPU a row)."""
    insert = f"INSERT INTO q VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT (tx_id) DO NOTHING"
    batches = [sorted(rows[at : at + BATCH_ROWS], key=str) for at in range(0, len(rows), BATCH_ROWS)]
    began, used = time.perf_counter(), time.process_time()
    for batch in batches:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, batch)
        connection.execute("COMMIT")
    return len(rows) / (time.perf_counter() - began), (time.process_time() - used) / len(rows) * 1e6


def _run_daemon(
    connection: sqlite3.Connection, path: Path, bootstrap_servers: str, topic: str, count: int
) -> tuple[float, float]:
    """Rows a second from the first commit that is seen to the last, and CPU of all its processes a row of these.

    Raises: Problem when the daemon ends early or rows are missing.
    """
    config = path.with_suffix(".toml")
    config.write_text(_CONFIG.format(bootstrap=bootstrap_servers, path=path) + SKETCH.pipeline(topic))
    command = [sys.executable, "-c", "import sys; from ingestd.cli import main; sys.exit(main())"]
    log = path.with_suffix(".log")
    with open(log, "wb") as said:
        daemon = subprocess.Popen(
            [*command, "run", "--config", str(config), "--until-caught-up", "--log-format", "json"],
            stderr=said,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    try:
        first, used = _until(connection, daemon, 1, log), cpu.tree_secs(daemon.pid)
        last = _until(connection, daemon, count, log)
        used = cpu.tree_secs(daemon.pid) - used
        if daemon.wait(30) != 0:
            raise Problem(f"ingestd ended with {daemon.returncode}: {log.read_text()[-500:]}")
    finally:
        daemon.kill()
        daemon.wait()
    found = connection.execute("SELECT count(*) FROM q").fetchone()[0]
    if found != count:
        raise Problem(f"{found:,} rows of {count:,} records")
    steady = last[1] - first[1]
    return steady / (last[0] - first[0]), used / steady * 1e6


def _until(
    connection: sqlite3.Connection, daemon: "subprocess.Popen[bytes]", goal: int, log: Path
) -> tuple[float, int]:
    """(time, rows committed) when so many are."""
    deadline = time.perf_counter() + _TIMEOUT_SECS
    while time.perf_counter() < deadline:
        with contextlib.suppress(sqlite3.OperationalError):  # before the ledger is made
            done = int(connection.execute("SELECT coalesce(sum(records), 0) FROM ingestd_cursors").fetchone()[0])
            if done >= goal:
                return time.perf_counter(), done
        if daemon.poll() is not None:
            raise Problem(f"ingestd ended with {daemon.returncode} before all was in: {log.read_text()[-500:]}")
        time.sleep(_POLL_SECS)
    raise Problem(f"not done after {_TIMEOUT_SECS:.0f} s")
