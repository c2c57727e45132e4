"""A pipeline that has only a lake, from Kafka to committed files: `python -m bench lake-run`.

In every round, in turn: the daemon (embedded broker and store, defaults but for the workers); a process that consumes
the same topic and looks at nothing; `pyarrow.parquet.write_table` of the same rows, decoded before the clock starts.

The daemon's rate is that from the first look at which its table cursors have moved until every row is in a committed
file, of the rows that lay beyond the first look. When the table's cursors are at the end it is told to stop in peace,
which rolls: otherwise the age of the last rows would be measured. "Together" is both stages one after the other,
1 / (1/consume + 1/write); harder is the slower of the two alone, as if each had a core of its own.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Consumer, TopicPartition

from bench import broker, cpu
from bench.contenders import last_line, start_ingestd, write_config
from bench.lake import COLUMNS, decoded, pipeline
from bench.problem import Problem
from bench.results import save, spread
from bench.servers import SEED, START, Load, Servers, load_transactions, running_servers
from ingestd.embedded.child import free_ports
from ingestd.lake.writing.schema import FileSchema

_CONSUME = "raw consume"
_WRITE = "pyarrow.parquet.write_table"
_HIVE = ("category", "year(timestamp)", "month(timestamp)", "day(timestamp)")
_TOGETHER = "consume and write_table one after the other"
_SLOWER = "the slower of consume and write_table"
_CURSORS = "SELECT coalesce(sum(next_offset) FILTER (WHERE sink_group = %s), 0) FROM ingestd.cursors"
_POLL_SECS = 0.02
_TIMEOUT_SECS = 900.0


class Daemon(NamedTuple):
    """One way to run it."""

    workers: int
    partition_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For the table."""
        layout = "15 categories, year, month, day" if self.partition_by else "one directory"
        return f"ingestd, {self.workers} worker{'s' * (self.workers > 1)}, {layout}"


class Rate(NamedTuple):
    """Rows a second, and microseconds of CPU a row."""

    per_sec: float
    cpu_us: float


DAEMONS = (Daemon(2), Daemon(1), Daemon(2, _HIVE))


def measure(args: argparse.Namespace) -> int:
    """Run all in turn and save the result. Raises: Problem when rows are missing or doubled."""
    rates: dict[str, list[Rate]] = {}
    table = _table(args.rows)
    with running_servers() as servers:
        load = load_transactions(servers, args.rows)
        sides: list[Daemon | str] = [*DAEMONS, _CONSUME, _WRITE]
        for number in range(args.rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                name = side.name if isinstance(side, Daemon) else side
                rate = _measured(side, servers, load, table)
                rates.setdefault(name, []).append(rate)
                print(f"round {number + 1}: {name}: {rate.per_sec:,.0f} rows/s, {rate.cpu_us:.2f} us CPU", flush=True)
    ratios = dict(_ratios(rates))
    for name, found in ratios.items():
        print(f"{name}: {found['min']:.2f} / {found['median']:.2f} / {found['max']:.2f} (min / median / max)")
    result = {
        "kind": "rates",
        "title": f"From Kafka into a lake, {args.rows:,} transactions of ten columns",
        "note": "4 partitions, no table, zstd, files durable and checked. CPU is that of all processes of the daemon, "
        "without broker and PostgreSQL. One after the other: 1 / (1/consume + 1/write), of one process each.",
        "rates": {name: spread([rate.per_sec for rate in found]) for name, found in rates.items()},
        "cpu_us": {name: spread([rate.cpu_us for rate in found]) for name, found in rates.items()},
        "ratios": ratios,
    }
    save("lake_run", result)
    return 0


def _table(rows: int) -> pa.Table:
    """What is in the topic, decoded."""
    schema = FileSchema.of(pipeline(Path("x")))
    return pa.Table.from_batches([schema.batch(one.columns) for one in decoded(rows, SEED, START)])


def _ratios(rates: dict[str, list[Rate]]) -> Iterator[tuple[str, dict[str, float]]]:
    """Each daemon beside what the other two allow, round by round."""
    limits = [(c.per_sec, w.per_sec) for c, w in zip(rates[_CONSUME], rates[_WRITE], strict=True)]
    for daemon in DAEMONS:
        pairs = list(zip(rates[daemon.name], limits, strict=True))
        yield f"{daemon.name} / {_TOGETHER}", spread([ours.per_sec * (1 / c + 1 / w) for ours, (c, w) in pairs])
        yield f"{daemon.name} / {_SLOWER}", spread([ours.per_sec / min(limit) for ours, limit in pairs])


def _measured(side: Daemon | str, servers: Servers, load: Load, table: pa.Table) -> Rate:
    with tempfile.TemporaryDirectory(prefix="ingestd-bench-") as made:
        if isinstance(side, Daemon):
            return _run(side, servers, load, Path(made))
        if side == _CONSUME:
            code = f"from bench.lake_run import consume; consume({servers.bootstrap_servers!r}, {load.topic!r})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            return Rate(*map(float, done.stdout.split()))
        began, used = time.perf_counter(), time.process_time()
        pq.write_table(table, Path(made) / "all.parquet", compression="zstd")
        secs, used = time.perf_counter() - began, time.process_time() - used
        return Rate(table.num_rows / secs, used / table.num_rows * 1e6)


def consume(bootstrap_servers: str, topic: str) -> None:
    """Read all of it, as a worker does; prints records a second from the first chunk on, and CPU in us a record."""
    properties = broker.client_properties(bootstrap_servers, [])
    spans = broker.spans(properties, topic)
    # With room to read far ahead: librdkafka at its best.
    ahead = {"queued.max.messages.kbytes": 64_000, "fetch.message.max.bytes": 8_000_000}
    consumer = Consumer(properties | ahead | {"group.id": "bench-consume", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, start) for p, (start, _) in enumerate(spans)])
    left = sum(end - start for start, end in spans)
    left -= len(consumer.consume(2_000, 30.0))
    read, began, used = left, time.perf_counter(), time.process_time()
    while left > 0:
        left -= len(consumer.consume(2_000, 1.0))
    secs, used = time.perf_counter() - began, time.process_time() - used
    consumer.close()
    print(read / secs, used / read * 1e6)


def _run(daemon: Daemon, servers: Servers, load: Load, work: Path) -> Rate:
    """From the first cursors seen to all rows committed."""
    with servers.connect() as connection, _started(daemon, servers, load, work) as child:
        meter = cpu.Meter([child.pid])

        def until(group: str, rows: int) -> tuple[int, float, float]:
            """The rows of the first look with at least so many, when it was, and CPU seconds until then."""
            deadline = time.monotonic() + _TIMEOUT_SECS
            while (found := _moved(connection, group)) < rows:
                # It may end as soon as everything is committed, between two looks.
                if child.poll() is not None and _moved(connection, group) < rows:
                    raise Problem(f"{daemon.name}: ended early: {last_line(work / 'ingestd.log')}")
                if time.monotonic() > deadline:
                    raise Problem(f"{daemon.name}: {found:,} of {rows:,} rows after {_TIMEOUT_SECS:.0f} s")
                meter.sample()
                time.sleep(_POLL_SECS)
            at = time.perf_counter()
            meter.sample(scan=True)
            return found, at, sum(meter.secs.values())

        first_rows, began, used = until("table", 1)
        until("table", load.messages)
        child.send_signal(signal.SIGTERM)
        _, ended, used_last = until("lake", load.messages)
        child.wait(60)
    _verify(daemon, work / "lake", load.messages)
    rows = load.messages - first_rows
    return Rate(rows / (ended - began), (used_last - used) / rows * 1e6)


@contextmanager
def _started(daemon: Daemon, servers: Servers, load: Load, work: Path) -> Iterator[subprocess.Popen[bytes]]:
    with servers.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        connection.execute("CHECKPOINT")
    text = _pipeline(load.topic, daemon.partition_by, work / "lake")
    config = write_config(work, servers, text, free_ports(1)[0], f"max_workers = {daemon.workers}")
    child = start_ingestd(config, work)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(60)


def _pipeline(topic: str, partition_by: Iterable[str], root: Path) -> str:
    lines = "".join(f'  {{ name = "{name}", type = "{kind}", required = true }},\n' for name, kind in COLUMNS)
    return (
        f'[[pipeline]]\nname = "bench"\ntopic = "{topic}"\ncolumn = [\n{lines}]\n\n'
        f'[pipeline.lake]\npath = "{root}"\npartition_by = {list(partition_by)}\n'
    )


def _moved(connection: psycopg.Connection[Any], group: str) -> int:
    try:
        row = connection.execute(_CURSORS, [group]).fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(row[0]) if row else 0


def _verify(daemon: Daemon, root: Path, rows: int) -> None:
    found = duckdb.sql(f"SELECT count(*), count(DISTINCT tx_id) FROM '{root}/**/*.parquet'").fetchone()
    if found != (rows, rows):
        raise Problem(f"{daemon.name}: rows, different rows: {found}, not {rows:,}")
