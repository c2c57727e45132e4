"""One pipeline of many topics: a pattern, a table for each, a few worker processes for all."""

import itertools
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import SERVERS, catch_up, events, ingestd, run_daemon
from tests.fault.daemon import Daemon
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

CONFIG = (
    SERVERS
    + """
[workers]
{workers}
[[pipeline]]
name = "events"
topic = "{prefix}.public.*"
batch = {{ max_rows = 300 }}
column = [
  {{ name = "id", type = "int8", required = true }},
  {{ name = "note", type = "text" }},
]
[pipeline.table]
name = "{{table}}"
mode = "insert"
key = ["id"]
create = true
"""
)
_PREFIXES = itertools.count(1)
TOPICS = 12
EACH = 400


class Many:
    """Topics of one pattern, and the tables that come of them."""

    def __init__(self, file: Path, url: str, prefix: str, make: MakeTopic, produce: Produce):
        self.file = file
        self.url = url
        self.prefix = prefix
        self._make = make
        self._produce = produce
        self.sent: dict[str, int] = {}

    def topic(self, table: str, partitions: int = 2) -> str:
        self.sent[table] = 0
        return self._make(partitions, name=f"{self.prefix}.public.{table}")

    def send(self, table: str, count: int) -> None:
        first = self.sent[table]
        self._produce(f"{self.prefix}.public.{table}", events(count, first), key=lambda value: value)
        self.sent[table] += count

    def ask(self, query: str) -> list[tuple[object, ...]]:
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)) as file, file:
                return file.execute(query).fetchall()
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def rows(self, table: str) -> int:
        try:
            return int(str(self.ask(f"SELECT count(*) FROM {table}")[0][0]))
        except (psycopg.errors.UndefinedTable, sqlite3.OperationalError):
            return -1

    def arrived(self, *but: str) -> bool:
        return all(self.rows(table) == count for table, count in self.sent.items() if table not in but)

    def halted(self, daemon: Daemon) -> set[str]:
        return {event["topic"].rpartition(".")[2] for event in daemon.events("partition halted")}


@pytest.fixture(params=["postgresql", "sqlite"])
def many(
    request: pytest.FixtureRequest, kafka: KafkaServer, topic: MakeTopic, produce: Produce, tmp_path: Path
) -> Iterator[Many]:
    """TOPICS topics with EACH records in two partitions each; three workers, or with SQLite its one."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/many.db" if sqlite else request.getfixturevalue("database")
    prefix, file = f"many-{os.getpid()}-{next(_PREFIXES)}", tmp_path / "ingestd.toml"
    workers = "" if sqlite else "max_workers = 3"
    file.write_text(
        CONFIG.format(
            bootstrap=kafka.bootstrap_servers, url=url, group=prefix, prefix=prefix, workers=workers, status="false"
        )
    )
    found = Many(file, url, prefix, topic, produce)
    for number in range(TOPICS):
        found.topic(f"t{number}")
        found.send(f"t{number}", EACH)
    yield found


def test_a_killed_worker_of_many_topics_loses_nothing_and_a_new_topic_is_read(many: Many) -> None:
    daemon = run_daemon(many.file)
    try:
        daemon.wait(many.arrived, "all rows of all tables")
        workers = daemon.workers()
        assert len(workers) == (1 if many.url.startswith("sqlite") else 3)
        for table in list(many.sent):
            many.send(table, EACH)
        os.kill(workers[0], signal.SIGKILL)
        many.topic("late", partitions=1)
        many.send("late", 10)
        for table in list(many.sent):
            many.send(table, 7)
        daemon.wait(many.arrived, "all rows, those of the new topic too")
        assert len(daemon.workers()) == len(workers)
        assert daemon.end() == 0, daemon.log()
    finally:
        daemon.destroy()
    assert many.arrived()
    verified = ingestd("verify", "--config", many.file)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.count("everything is accounted for") == TOPICS + 1


def test_a_topic_that_halts_leaves_the_others_of_its_process_going(many: Many) -> None:
    many.ask("CREATE TABLE t5 (id bigint PRIMARY KEY)")
    assert catch_up(many.file)[0] == 4, "caught up, but for the topic that halted"
    assert many.arrived("t5") and many.rows("t5") == 0
    daemon = run_daemon(many.file)
    try:
        daemon.wait(lambda: many.halted(daemon) == {"t5"}, "the halt")
        for table in list(many.sent):
            many.send(table, 50)
        daemon.wait(lambda: many.arrived("t5"), "the rows of all others")
        assert many.rows("t5") == 0
        many.ask("ALTER TABLE t5 ADD COLUMN note text")
        daemon.signal(signal.SIGHUP)
        daemon.wait(many.arrived, "the rows of the mended table")
        assert daemon.end() == 0, daemon.log()
    finally:
        daemon.destroy()
    assert catch_up(many.file)[0] == 0


def test_a_deleted_topic_does_not_end_the_others(many: Many, kafka: KafkaServer) -> None:
    daemon = run_daemon(many.file)
    try:
        daemon.wait(many.arrived, "all rows of all tables")
        gone = f"{many.prefix}.public.t3"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.delete_topics([gone])[gone].result(30)
        said = "topic is gone; what was read of it stays"
        daemon.wait(lambda: [event["topic"] for event in daemon.events(said)] == [gone], "a word on the topic")
        for table in list(many.sent):
            if table != "t3":
                many.send(table, 20)
        daemon.wait(many.arrived, "the rows of the others")
        assert daemon.end() == 0, daemon.log()
    finally:
        daemon.destroy()
