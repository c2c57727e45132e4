"""A worker from a real broker into a real database, alone: no supervisor, no group."""

import signal
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode
from tests.fix_proxy import MakeProxy
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask
from tests.worker.worker_process import WorkerProcess

MakeWorker = Callable[..., WorkerProcess]


@pytest.fixture
def worker(kafka: KafkaServer, database: str) -> Iterator[MakeWorker]:
    """`worker(topic, partitions=[0], url=None, **pipeline)` starts one on table `orders (id, v)`."""
    made: list[WorkerProcess] = []
    ask(database, "CREATE TABLE orders (id int PRIMARY KEY, v int CHECK (v >= 0))")

    def start(topic: str, partitions: list[int] | None = None, url: str | None = None, **more: Any) -> WorkerProcess:
        pipeline: dict[str, Any] = {
            "name": "p",
            "topic": topic,
            "column": [{"name": "id", "type": "int4"}, {"name": "v", "type": "int4"}],
            "table": {"name": "orders", "mode": "insert", "key": ["id"]},
            **more,
        }
        config = {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group_id": "workers"},
            "store": {"url": url or database},
            "pipeline": [pipeline],
        }
        made.append(WorkerProcess(config, [0] if partitions is None else partitions))
        return made[-1]

    yield start
    for one in made:
        one.end()


def _orders(first: int, count: int, v: int = 1) -> list[bytes]:
    return [orjson.dumps({"id": n, "v": v}) for n in range(first, first + count)]


def _count(url: str) -> int:
    return int(ask(url, "SELECT count(*) FROM orders")[0][0])


def test_records_become_rows_and_term_leaves_with_ok(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(2)
    produce(name, _orders(0, 3_000), 0)
    produce(name, [*_orders(3_000, 500), b"no json", *_orders(0, 10)], 1)
    one = worker(name, [0, 1])
    one.until(lambda: _count(database) == 3_500)
    one.until(lambda: one.lanes[1]["next_offset"] == 511 and one.lanes[0]["next_offset"] == 3_000)
    one.process.send_signal(signal.SIGTERM)
    assert one.exit_code() == ExitCode.OK
    assert one.states[0] == ["CLAIMING", "RUNNING", "RELEASED"] or one.states[0][-2:] == ["RUNNING", "RELEASED"]
    assert one.lanes[0]["has_beaten"]
    assert ask(database, "SELECT next_offset, records FROM ingestd.cursors ORDER BY partition") == [
        (3_000, 3_000),
        (511, 511),
    ]
    assert ask(database, 'SELECT partition, "offset" FROM ingestd.dead_letters') == [(1, 500)]
    assert ask(database, "SELECT sum(duplicates)::int FROM ingestd.cursors") == [(10,)]


def test_halted_partition_leaves_the_others_running(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(2)
    produce(name, _orders(0, 200), 0)
    produce(name, [b"no json"] * 300, 1)
    one = worker(name, [0, 1])
    one.until(lambda: one.states[1][-1:] == ["HALTED"] and one.states[0][-1:] == ["RUNNING"])
    one.until(lambda: _count(database) == 200)
    produce(name, _orders(200, 50), 0)
    one.until(lambda: _count(database) == 250)
    assert "of the last" in one.lanes[1]["text"]
    assert one.lanes[1]["state"] == "HALTED"
    produce(name, [b"no json"] * 300, 0)
    assert one.exit_code() == ExitCode.HALTED
    dead = ask(database, "SELECT count(*) FROM ingestd.dead_letters")
    assert dead[0][0] < 100


def test_database_out_of_reach_is_retried_and_resumes(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str, proxy: MakeProxy
) -> None:
    name = topic()
    parts = urlsplit(database)
    between = proxy(str(parts.hostname), parts.port or 5432)
    one = worker(name, url=parts._replace(netloc=f"postgres@127.0.0.1:{between.port}").geturl())
    produce(name, _orders(0, 100))
    one.until(lambda: _count(database) == 100)
    between.stop()
    produce(name, _orders(100, 100))
    one.until(lambda: one.lanes[0]["state"] == "RETRYING")
    assert "PostgreSQL at 127.0.0.1" in one.lanes[0]["text"]
    between.start()
    one.until(lambda: _count(database) == 200)
    one.until(lambda: one.lanes[0]["state"] == "RUNNING")
    assert ask(database, "SELECT next_offset, inserted, duplicates FROM ingestd.cursors") == [(200, 200, 0)]


def test_second_worker_fences_the_first_which_exits(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic()
    first = worker(name)
    produce(name, _orders(0, 10))
    first.until(lambda: _count(database) == 10)
    second = worker(name)
    second.until(lambda: second.states[0][-1:] == ["RUNNING"])
    produce(name, _orders(10, 10))
    assert first.exit_code() == ExitCode.LEASE_LOST
    second.until(lambda: _count(database) == 20)


def test_killed_worker_is_continued_by_the_next(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic()
    produce(name, _orders(0, 20_000))
    for _ in range(3):
        one = worker(name, batch={"max_rows": 500})
        one.until(lambda one=one: one.lanes and one.lanes[0]["batches"] > 2)  # type: ignore[misc]
        one.process.kill()
        one.exit_code()
    last = worker(name)
    last.until(lambda: _count(database) == 20_000)
    last.until(lambda: last.lanes[0]["next_offset"] == 20_000)
    assert ask(database, "SELECT inserted, duplicates FROM ingestd.cursors") == [(20_000, 0)]


def test_missing_topic_is_waited_for(worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str) -> None:
    name = topic() + "-later"
    one = worker(name)
    one.until(lambda: one.lanes and one.lanes[0]["state"] == "RETRYING")
    assert "not found" in one.lanes[0]["text"]
    topic(name=name)
    produce(name, _orders(0, 5))
    one.until(lambda: _count(database) == 5)


def test_table_that_does_not_fit_halts_with_the_statement_that_mends_it(
    worker: MakeWorker, topic: MakeTopic, database: str
) -> None:
    ask(database, "ALTER TABLE orders DROP COLUMN v")
    one = worker(topic())
    assert one.exit_code() == ExitCode.HALTED
    assert "ADD COLUMN" in one.lanes[0]["text"]
    assert "Traceback" not in "".join(one.errors)
