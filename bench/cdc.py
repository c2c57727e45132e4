"""How fast Debezium makes change events, and how fast ingestd applies them: `python -m bench cdc`.

One table of ten columns. Debezium reads it whole (snapshot); then half as many rows are inserted, a third of them
updated and a sixth deleted, in transactions of 1,000, while Debezium is away, and it follows. Its rate is that of the
log end of its topic, from the first event seen to the last. Then ingestd applies all of it to a copy, which must be
equal.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from bench.cdc_copy import run_copy
from bench.cpu import times
from bench.problem import Problem
from bench.progress import shown
from bench.results import save, spread
from ingestd.embedded.child import wait_until
from ingestd.embedded.debezium_source import DebeziumSource
from ingestd.embedded.stack import Stack, start_stack

CONNECTOR = "bench"
TOPIC = f"{CONNECTOR}.public.items"
_TRANSACTION = 1_000
_LOOK_SECS = 0.05
_TIMEOUT_SECS = 600.0
_CREATE = """
DROP TABLE IF EXISTS items;
CREATE TABLE items (
  id bigint PRIMARY KEY, owner uuid NOT NULL, name text NOT NULL, status text, price numeric(12,2), quantity int,
  is_open boolean, weight float8, made_at timestamptz NOT NULL, day date
)
"""
_INSERT = """
INSERT INTO items SELECT n, gen_random_uuid(), 'item ' || n, 'new', round((random() * 500)::numeric, 2),
  (random() * 100)::int, random() < 0.5, random(), clock_timestamp(), current_date
FROM generate_series(%s::bigint, %s::bigint) AS made(n)
"""
_UPDATE = "UPDATE items SET status = 'sold', quantity = quantity - 1 WHERE id BETWEEN %s AND %s"
_DELETE = "DELETE FROM items WHERE id BETWEEN %s AND %s"


class Rate(NamedTuple):
    """Events a second while they came, and Connect's CPU in microseconds an event."""

    per_sec: float
    cpu_us: float

    def of(self, share: float) -> "Rate":
        """The rate of what is only a share of the records."""
        return Rate(self.per_sec * share, self.cpu_us / share)


def measure(args: argparse.Namespace) -> int:
    """Run every case `rounds` times, schemas off and on in turn, and save the result.

    Raises: Problem when events are missing, or the copy is not equal to the source.
    """
    rates: dict[str, list[Rate]] = {}
    for number in range(args.rounds):
        for schemas in (False, True) if number % 2 == 0 else (True, False):
            with _source(schemas) as (stack, source):
                for name, rate in _run(stack, source, args.rows):
                    case = f"{name}, {'with' if schemas else 'without'} schemas"
                    rates.setdefault(case, []).append(rate)
                    said = f"{rate.per_sec:,.0f}/s, {rate.cpu_us:.1f} us of CPU each"
                    print(f"round {number + 1}: {case}: {said}", flush=True)
    result = {
        "kind": "rates",
        "title": f"Change data capture, {args.rows:,} rows of ten columns read and as many changed",
        "note": f"One partition, transactions of {_TRANSACTION:,} changes, a delete counts as one event although its "
        "tombstone is another record. CPU is Kafka Connect's for Debezium, the daemon's for ingestd.",
        "rates": {name: spread([rate.per_sec for rate in found]) for name, found in rates.items()},
        "cpu_us": {name: spread([rate.cpu_us for rate in found]) for name, found in rates.items()},
        "ratios": _ratios(rates),
    }
    save("cdc", result)
    return 0


def _ratios(rates: dict[str, list[Rate]]) -> dict[str, Any]:
    """ingestd beside Debezium, each round."""
    found = {}
    for case, ours in rates.items():
        theirs = rates.get(case.replace("ingestd, live copy", "Debezium, changes"), [])
        if case.startswith("ingestd") and theirs:
            pairs = zip(ours, theirs, strict=True)
            found[f"{case} / Debezium, changes"] = spread([mine.per_sec / other.per_sec for mine, other in pairs])
    return found


@contextlib.contextmanager
def _source(schemas: bool) -> Iterator[tuple[Stack, DebeziumSource]]:
    with start_stack(database="copy", source_database="source") as stack:
        tables = (r"public\.items",)
        yield stack, DebeziumSource(CONNECTOR, stack.debezium.source_url, tables, prefix=CONNECTOR, schemas=schemas)


def _run(stack: Stack, source: DebeziumSource, rows: int) -> Iterator[tuple[str, Rate]]:
    connectors = stack.debezium.connectors
    with (
        psycopg.connect(source.database_url, autocommit=True) as connection,
        contextlib.closing(_Watch(stack)) as watch,
    ):
        connection.execute(_CREATE)
        connection.execute(_INSERT, [1, rows])
        connectors.put(source.name, source.config())
        yield "Debezium, snapshot", watch.until(rows, "snapshot")
        # Debezium is away while the source works, and has the machine to itself when it comes back.
        if not wait_until(lambda: bool(connectors.noted(source.name)), _TIMEOUT_SECS):
            raise Problem("Debezium never noted how far it has come")
        connectors.remove(source.name)
        changes, records = _change(connection, rows)
        connectors.put(source.name, source.config())
        yield "Debezium, changes", watch.until(records, "changes").of(changes / records)
    copied = run_copy(stack, TOPIC, rows + records, source.schemas)
    yield "ingestd, live copy", Rate(copied.per_sec, copied.cpu_us).of((rows + changes) / (rows + records))


def _change(connection: "psycopg.Connection[tuple[Any, ...]]", rows: int) -> tuple[int, int]:
    """Change about as many rows as there are; (changes, records): a delete is one record, and its tombstone another."""
    inserts, updates = _TRANSACTION // 2, _TRANSACTION // 3
    deletes = _TRANSACTION - inserts - updates
    highest, oldest = rows, 1
    for _ in range(rows // _TRANSACTION):
        with connection.transaction():
            connection.execute(_INSERT, [highest + 1, highest + inserts])
            connection.execute(_DELETE, [oldest, oldest + deletes - 1])
            connection.execute(_UPDATE, [highest - updates + 1, highest])
        highest, oldest = highest + inserts, oldest + deletes
    changes = rows // _TRANSACTION * _TRANSACTION
    return changes, changes + oldest - 1


class _Watch:
    """Follows the log end of the topic."""

    def __init__(self, stack: Stack):
        self._pid = stack.pids["debezium"]
        self._connectors = stack.debezium.connectors
        self._consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "bench", "log_level": 2})
        self._seen = 0

    def close(self) -> None:
        self._consumer.close()

    def until(self, records: int, what: str) -> Rate:
        """The rate of the next so many records, from the first that is seen to the last."""
        start, goal = self._seen, self._seen + records
        first: tuple[float, int, float] | None = None
        deadline = time.perf_counter() + _TIMEOUT_SECS
        with shown(what, records) as update:
            while self._seen < goal:
                time.sleep(_LOOK_SECS)
                now, self._seen = time.perf_counter(), max(self._seen, self._log_end())
                if self._seen > start and first is None:
                    first = (now, self._seen, self._cpu())
                update(self._seen - start)
                if now > deadline or (failure := self._connectors.failure(CONNECTOR)):
                    raise Problem(f"{what}: {self._seen - start:,} of {records:,} records: {failure or 'too slow'}")
        if self._seen != goal or first is None:
            raise Problem(f"{what}: {self._seen - start:,} records, not {records:,}")
        counted = self._seen - first[1]
        if not counted:
            raise Problem(f"{what}: too few rows to measure a rate: raise --rows")
        return Rate(counted / (now - first[0]), (self._cpu() - first[2]) / counted * 1e6)

    def _log_end(self) -> int:
        try:
            return int(self._consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), 10, cached=False)[1])
        except KafkaException:
            # Not made yet.
            return 0

    def _cpu(self) -> float:
        found = times(self._pid)
        return found.own_secs if found else 0.0
