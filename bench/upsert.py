"""Upserts beside raw SQL, and hot keys beside inserts: `python -m bench upsert`. Knows no Kafka: records are in memory.

Raw is COPY of ready-made bytes, sorted by key, into a temporary table and INSERT .. ON CONFLICT DO UPDATE .. WHERE
newer; ingestd's side decodes JSON, folds, encodes, counts and moves its cursor in the same single thread.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import orjson
import psycopg
import pyarrow.compute as pc

from bench.cpu import tree_secs
from bench.memory_records import Committing, MemoryRecord, chunked
from bench.results import save, spread
from ingestd.config.options import Column, Pipeline, Table
from ingestd.embedded.postgres import PostgresServer
from ingestd.schema.postgres import Schema

Mode = Literal["insert", "upsert"]

BATCH = 25_000
HOT_KEYS = 100
WORKERS = 4
_COLUMNS = (
    Column(name="id", type="text", required=True),
    Column(name="ts", type="int8", required=True),
    Column(name="amount", type="numeric(10,2)"),
    Column(name="category", type="text"),
)
_CREATE = 'CREATE TABLE u (id text COLLATE "C" PRIMARY KEY, ts bigint NOT NULL, amount numeric(10,2), category text)'
_NAMES = "id, ts, amount, category"
_RAW = (
    f"INSERT INTO u ({_NAMES}) SELECT {_NAMES} FROM raw_staging ON CONFLICT (id) DO UPDATE"
    " SET ts = excluded.ts, amount = excluded.amount, category = excluded.category WHERE excluded.ts >= u.ts"
)


def pipeline(mode: Mode, name: str = "bench") -> Pipeline:
    """The pipeline of one side."""
    version = "ts" if mode == "upsert" else "offset"
    table = Table(name="u", mode=mode, key=("id",), version=version)
    return Pipeline(name=name, topic="bench", column=_COLUMNS, table=table)


def value(key: str, ts: int, rng: random.Random) -> bytes:
    """One record."""
    return orjson.dumps({"id": key, "ts": ts, "amount": rng.randrange(10**6) / 100, "category": "groceries"})


@contextmanager
def database() -> Iterator[PostgresServer]:
    """A server of its own with default settings, fsync included."""
    directory = Path(tempfile.mkdtemp(prefix="ingestd-bench-"))
    directory.chmod(0o711)
    server = PostgresServer(directory / "postgres")
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory)


class Clock:
    """Rows a second, and CPU of the server and of this process for each row: that one holds on a busy machine too."""

    def __init__(self, server: PostgresServer):
        assert server.pid is not None
        self._server_pid = server.pid
        self._began = (time.perf_counter(), self._cpu())

    def _cpu(self) -> float:
        return time.process_time() + tree_secs(self._server_pid)

    def stop(self, rows: int) -> tuple[float, float]:
        """(rows a second, CPU in us a row) since the start."""
        took, cpu = time.perf_counter() - self._began[0], self._cpu() - self._began[1]
        return rows / took, cpu / rows * 1e6


def fresh(url: str, present: Sequence[str] = ()) -> None:
    """The table anew, with rows of version 0 for the keys that are `present`, and no ledger."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS u")
        connection.execute("DROP SCHEMA IF EXISTS ingestd CASCADE")
        connection.execute(_CREATE.encode())
        with connection.cursor().copy("COPY u (id, ts, amount, category) FROM STDIN") as copy:
            for key in sorted(present):
                copy.write_row((key, 0, "0.00", "none"))
        connection.execute("VACUUM ANALYZE u")
        connection.execute("CHECKPOINT")


class HalfUpdates:
    """Batches of which every second key has a row already, as records and as bytes of COPY."""

    def __init__(self, rows: int):
        rng = random.Random(1)
        keys = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(rows)]
        self.present, new = keys[: rows // 2], keys[rows // 2 :]
        half = BATCH // 2
        self.batches: list[list[MemoryRecord]] = []
        for start in range(0, rows // 2, half):
            mixed = self.present[start : start + half] + new[start : start + half]
            rng.shuffle(mixed)
            at = 2 * start
            records = [MemoryRecord(value(key, at + n + 1, rng), at + n) for n, key in enumerate(mixed)]
            self.batches.append(records)
        self.count = sum(map(len, self.batches))
        encode = Schema.of(_COLUMNS).encoder()
        committing = Committing(pipeline("upsert"))
        self.pieces = []
        for records in self.batches:
            columns = committing.joined(chunked(records)).columns
            self.pieces.append(encode(columns.take(pc.sort_indices(columns.column("id")))))


def run_raw(server: PostgresServer, load: HalfUpdates) -> tuple[float, float]:
    """Rows a second, CPU us a row."""
    url = server.url()
    fresh(url, load.present)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE raw_staging ON COMMIT DELETE ROWS AS SELECT * FROM u LIMIT 0")
        cursor.execute("SET jit = off")
        cursor.execute("SET temp_buffers = '32MB'")
        connection.commit()
        clock = Clock(server)
        for pieces in load.pieces:
            with cursor.copy(f"COPY raw_staging ({_NAMES}) FROM STDIN (FORMAT binary)".encode()) as copy:
                for piece in pieces:
                    copy.write(piece)
            cursor.execute(_RAW.encode(), prepare=True)
            connection.commit()
        return clock.stop(load.count)


def run_ingestd(server: PostgresServer, load: HalfUpdates, decoding: bool) -> tuple[float, float]:
    """Rows a second, CPU us a row; `decoding` says whether that of the JSON is in them."""
    url = server.url()
    fresh(url, load.present)
    committing = Committing(pipeline("upsert"))
    committing.open(url)
    decoded = [] if decoding else [committing.joined(chunked(records)) for records in load.batches]
    clock = Clock(server)
    for n, records in enumerate(load.batches):
        committing.commit(committing.joined(chunked(records)) if decoding else decoded[n])
    rates = clock.stop(load.count)
    committing.close()
    found = _ask(url, "SELECT count(*), count(*) FILTER (WHERE ts > 0) FROM u")
    if found != (load.count, load.count):
        raise AssertionError(f"{load.count} rows wanted, found {found}")
    return rates


def run_workers(server: PostgresServer, mode: Mode, rows: int, batch: int) -> tuple[float, float]:
    """Rows a second, CPU us a row, of `WORKERS` processes at once, decoded before: hot keys, or inserts."""
    url, pid = server.url(), server.pid
    assert pid is not None
    fresh(url)
    context = get_context("spawn")
    barrier, spans = context.Barrier(WORKERS + 1), context.Queue()
    processes = [
        context.Process(target=work, args=(url, mode, worker, rows // WORKERS, batch, barrier, spans))
        for worker in range(WORKERS)
    ]
    for process in processes:
        process.start()
    barrier.wait(600)
    server_cpu = -tree_secs(pid)
    found: list[tuple[float, float, dict[str, int], float]] = [spans.get(timeout=600) for _ in processes]
    server_cpu += tree_secs(pid)
    for process in processes:
        process.join()
    if mode == "upsert":
        latest = {key: max(one[2].get(key, -1) for one in found) for key in found[0][2]}
        with psycopg.connect(url, autocommit=True) as connection:
            rows_found: dict[str, int] = dict(
                connection.execute("SELECT id, ts FROM u WHERE amount = ts % 1000").fetchall()
            )
        if rows_found != latest:
            raise AssertionError("a key does not have its last version")
    rows = rows // WORKERS * WORKERS
    cpu = server_cpu + sum(one[3] for one in found)
    return rows / (max(one[1] for one in found) - min(one[0] for one in found)), cpu / rows * 1e6


def work(url: str, mode: Mode, worker: int, rows: int, batch: int, barrier: Any, spans: Any) -> None:
    """One worker, with a partition of its own."""
    rng = random.Random(worker)
    committing = Committing(pipeline(mode))
    parts = []
    latest: dict[str, int] = {}
    for start in range(0, rows, batch):
        records = []
        for offset in range(start, min(rows, start + batch)):
            ts = offset * WORKERS + worker
            key = f"key {rng.randrange(HOT_KEYS)}" if mode == "upsert" else str(uuid.UUID(int=rng.getrandbits(128)))
            if mode == "upsert":
                latest[key] = ts
            text = orjson.dumps({"id": key, "ts": ts, "amount": ts % 1000, "category": "groceries"})
            records.append(MemoryRecord(text, offset, worker))
        parts.append(committing.joined(chunked(records)))
    committing.open(url, worker)
    barrier.wait(600)
    began, cpu = time.monotonic(), time.process_time()
    for part in parts:
        committing.commit(part)
    spans.put((began, time.monotonic(), latest, time.process_time() - cpu))
    committing.close()


def _ask(url: str, query: str) -> tuple[Any, ...]:
    with psycopg.connect(url, autocommit=True) as connection:
        found: tuple[Any, ...] = connection.execute(query.encode()).fetchone() or ()
        return found


def measure(args: argparse.Namespace) -> int:
    """All rounds, odd ones in reverse order; written to the results."""
    load = HalfUpdates(args.rows)
    runs: dict[str, list[tuple[float, float]]] = {}
    with database() as server:
        sides: dict[str, Callable[[], tuple[float, float]]] = {
            "raw COPY + ON CONFLICT DO UPDATE, half updates": lambda: run_raw(server, load),
            "ingestd, half updates, from JSON": lambda: run_ingestd(server, load, True),
            "ingestd, half updates, decoded before": lambda: run_ingestd(server, load, False),
            f"4 workers, {HOT_KEYS} hot keys": lambda: run_workers(server, "upsert", args.rows, BATCH // 2),
            "4 workers, insert of new keys": lambda: run_workers(server, "insert", args.rows, BATCH // 2),
        }
        for number in range(args.rounds):
            for name, run in list(sides.items())[:: -1 if number % 2 else 1]:
                runs.setdefault(name, []).append(run())
                rate, cpu = runs[name][-1]
                print(f"{name:50s} {rate:10,.0f} rows/s {cpu:6.1f} us CPU a row", file=sys.stderr, flush=True)
        deadlocks = _ask(server.url(), "SELECT sum(deadlocks) FROM pg_stat_database")[0]
    names = list(sides)
    rates = {name: [rate for rate, _ in found] for name, found in runs.items()}
    cpu_us = {name: [cpu for _, cpu in found] for name, found in runs.items()}
    pairs = [(names[1], names[0]), (names[2], names[0]), (names[3], names[4])]
    ratios = {f"{a} / {b}": spread([x / y for x, y in zip(rates[a], rates[b], strict=True)]) for a, b in pairs}
    ratios |= {
        f"CPU a row, the inverse of it: {a} / {b}": spread([y / x for x, y in zip(cpu_us[a], cpu_us[b], strict=True)])
        for a, b in pairs
    }
    save(
        "upsert",
        {
            "kind": "rates",
            "title": f"Upsert, {args.rows:,} rows, {args.rounds} rounds",
            "rates": {name: spread(found) for name, found in sorted(rates.items())},
            "cpu_us": {name: spread(found) for name, found in sorted(cpu_us.items())},
            "ratios": ratios,
            "note": f"Batches of {BATCH:,} rows (12,500 for each of four workers), 4 columns, text key, one connection"
            f" unless said otherwise; deadlocks: {deadlocks}. Every run ends with a count of the rows.",
        },
    )
    for what, found in ratios.items():
        print(f"{what}: {found['min']:.2f} / {found['median']:.2f} / {found['max']:.2f}")
    return 0
