"""The verdict over a log, offset by offset: row, duplicate or dead letter, exactly one of them. Knows no daemon.

It reads the log itself, so it needs to be told nothing of what was produced.
"""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from tests.fault.content import CHECK, DECODE

WRONG_ROWS = """SELECT count(*) FROM sink
WHERE abs(amount) <> (record_id * 37 % 1000000 + 1) / 100.0 OR merchant <> 'Merchant ' || record_id % 89 || ' & Søns'"""
COUNTERS = "coalesce(sum(records), 0), coalesce(sum(inserted), 0), coalesce(sum(duplicates), 0), coalesce(sum(dead), 0)"


_LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


class LogRecord(NamedTuple):
    partition: int
    offset: int
    fate: str
    number: int
    key_number: int


@dataclass
class Verdict:
    """What was found; `problems` says it in words, and is empty when all is well."""

    records: int = 0
    rows: int = 0
    duplicates: int = 0
    dead: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)


def log_ends(bootstrap_servers: str, topic: str) -> dict[int, int]:
    """The log end of every partition now; a broker that has just started has no leaders for a moment."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": f"ends-{topic}", "log_level": 2})
    partitions = consumer.list_topics(topic, 20).topics[topic].partitions
    ends: dict[int, int] = {}
    deadline = time.monotonic() + 20
    while len(ends) < len(partitions):
        try:
            ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=20)[1] for p in partitions}
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline:
                raise
    consumer.close()
    return ends


def read_log(bootstrap_servers: str, topic: str) -> tuple[list[LogRecord], dict[int, int]]:
    """Every record of the topic, and the log end of each partition."""
    settings = {"bootstrap.servers": bootstrap_servers, "group.id": f"check-{topic}", "auto.offset.reset": "error"}
    consumer = Consumer({**settings, "enable.auto.commit": False, "fetch.queue.backoff.ms": 5, "log_level": 2})
    partitions = list(consumer.list_topics(topic, 20).topics[topic].partitions)
    ends, starts = {}, []
    for partition in partitions:
        low, ends[partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        starts.append(TopicPartition(topic, partition, low))
    consumer.assign(starts)
    left = sum(ends.values()) - sum(one.offset for one in starts)
    log: list[LogRecord] = []
    while left > 0:
        found = consumer.consume(min(left, 20_000), 20)
        assert found, f"{topic}: {left} records cannot be read"
        for message in found:
            assert message.error() is None, message.error()
            fate, number, key_number = message.key().decode().split()  # type: ignore[union-attr]
            log.append(LogRecord(message.partition(), message.offset(), fate, int(number), int(key_number)))  # type: ignore[arg-type]
        left -= len(found)
    consumer.close()
    return sorted(log), ends


def check(
    connection: psycopg.Connection[Any], log: list[LogRecord], ends: dict[int, int], mode: str, has_check: bool
) -> Verdict:
    """Compare the log with table, dead letters and ledger."""
    rows = Counter(row[0] for row in connection.execute("SELECT record_id FROM sink").fetchall())
    found = 'SELECT partition, "offset" FROM ingestd.dead_letters'
    dead = Counter((row[0], row[1]) for row in connection.execute(found).fetchall())
    verdict = Verdict(records=len(log), rows=rows.total(), dead=dead.total())
    bad = {one for one in log if one.fate == DECODE or (one.fate == CHECK and has_check)}
    good = [one for one in log if one not in bad]
    _check_dead(verdict, dead, {(one.partition, one.offset) for one in bad})
    _check_rows(verdict, rows, good, {one.number for one in bad}, mode)
    wrong = connection.execute(WRONG_ROWS).fetchone()
    if wrong != (0,):
        verdict.problems.append(f"rows with the wrong content: {wrong}")
    _check_ledger(verdict, connection, ends)
    return verdict


def _check_dead(verdict: Verdict, dead: Counter[tuple[int, int]], expected: set[tuple[int, int]]) -> None:
    missing, extra = expected - dead.keys(), dead.keys() - expected
    twice = [at for at, count in dead.items() if count > 1]
    verdict.lost += len(missing)
    verdict.doubled += len(twice)
    for said, places in (("without a dead letter", missing), ("dead, but good", extra), ("dead twice", twice)):
        if places:
            verdict.problems.append(f"{len(places)} offsets {said}, first {min(places)}")


def _check_rows(verdict: Verdict, rows: Counter[int], good: list[LogRecord], bad: set[int], mode: str) -> None:
    if mode == "append":
        expected = Counter(one.number for one in good)
        lost, doubled = expected - rows, rows - expected
    else:
        lost, doubled = _compare_keys(verdict, rows, good)
    refused = bad & rows.keys()
    verdict.lost += lost.total()
    verdict.doubled += doubled.total() + len(refused)
    verdict.duplicates = len(good) - rows.total()
    for said, numbers in (("lost", lost), ("doubled or foreign", doubled), ("rows, but bad", refused)):
        if numbers:
            verdict.problems.append(f"{len(numbers)} records {said}, first number {min(numbers)}")


def _compare_keys(verdict: Verdict, rows: Counter[int], good: list[LogRecord]) -> tuple[Counter[int], Counter[int]]:
    """Each key is a row once, and it is the first of its partition that won."""
    by_key: dict[int, list[LogRecord]] = {}
    for one in good:
        by_key.setdefault(one.key_number, []).append(one)
    lost, doubled = Counter[int](), Counter(rows)
    for same in by_key.values():
        winners = [one for one in same if rows[one.number]]
        firsts = {one.partition: one for one in reversed(same)}
        if not winners:
            lost[same[0].number] += len(same)
            continue
        doubled[winners[0].number] -= 1
        if firsts[winners[0].partition] is not winners[0]:
            verdict.problems.append(f"number {winners[0].number} won over an earlier record of its partition")
    return lost, +doubled


def _check_ledger(verdict: Verdict, connection: psycopg.Connection[Any], ends: dict[int, int]) -> None:
    cursors = dict(connection.execute("SELECT partition, next_offset FROM ingestd.cursors").fetchall())
    if cursors != ends:
        verdict.problems.append(f"cursors {cursors} are not the log ends {ends}")
    counted = connection.execute(f"SELECT {COUNTERS} FROM ingestd.cursors").fetchone()
    seen = (verdict.records, verdict.rows, verdict.duplicates, verdict.dead)
    if counted is None or tuple(map(int, counted)) != seen:
        verdict.problems.append(f"ledger counts (records, rows, duplicates, dead) {counted}, found {seen}")
