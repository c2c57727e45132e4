"""Servers stop, restart and crash as asked, and keep their data and their port."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from ingestd.errors import StartupError
from tests.embedded.parents import gone


@pytest.fixture
def own_postgres(server_directory: Path, request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    server = PostgresServer(
        server_directory / request.node.name, settings={"max_connections": "7"}, password="it's /@:%"
    )
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("graceful", [True, False])
def test_kafka_restarts_on_the_same_port_with_its_records(server_directory: Path, graceful: bool) -> None:
    server = KafkaServer(server_directory / f"restart-{graceful}", properties={"num.partitions": "5"})
    server.start()
    try:
        endpoint, pid = server.bootstrap_servers, server.pid
        admin = AdminClient({"bootstrap.servers": endpoint})
        admin.create_topics([NewTopic("t")])["t"].result(10)
        producer = Producer({"bootstrap.servers": endpoint})
        for number in range(1000):
            producer.produce("t", str(number), partition=4)
        assert producer.flush(10) == 0
        server.restart(graceful)
        assert (server.bootstrap_servers, server.pid != pid) == (endpoint, True)
        consumer = Consumer({"bootstrap.servers": endpoint, "group.id": "g"})
        consumer.assign([TopicPartition("t", 4, 0)])
        values = [record.value() for record in consumer.consume(1000, 30)]
        consumer.close()
        assert values == [str(number).encode() for number in range(1000)]
    finally:
        server.kill()
    assert server.pid is None


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_postgres_restarts_on_the_same_port_with_its_rows(own_postgres: PostgresServer, how: str) -> None:
    url = own_postgres.url()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    held = psycopg.connect(url)
    if how == "kill":
        own_postgres.kill()
    else:
        own_postgres.stop("fast" if how == "fast" else "immediate")
    assert own_postgres.pid is None
    with pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")
    held.close()
    own_postgres.start()
    assert own_postgres.url() == url
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]
        assert connection.execute("SHOW max_connections").fetchone() == ("7",)


def test_postgres_with_a_password_refuses_another(own_postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(own_postgres.url(), password="wrong")


def test_sessions_end_with_a_killed_postmaster(own_postgres: PostgresServer) -> None:
    with psycopg.connect(own_postgres.url()) as connection:
        session = connection.info.backend_pid
        own_postgres.kill()
        assert gone([session], 10)


def test_a_wrong_setting_is_told_in_one_line(server_directory: Path) -> None:
    server = PostgresServer(server_directory / "wrong", settings={"no_such_setting": "1"})
    with pytest.raises(StartupError, match=r"did not start: FATAL: .*no_such_setting.*; see /") as failure:
        server.start()
    assert "\n" not in str(failure.value)
    assert server.pid is None


def test_a_wrong_broker_property_is_told_in_one_line(server_directory: Path) -> None:
    server = KafkaServer(server_directory / "wrong-kafka", properties={"num.io.threads": "none"})
    with pytest.raises(StartupError, match=r"did not start: .*num.io.threads.*; see /") as failure:
        server.start()
    assert "\n" not in str(failure.value)


def test_stop_ends_a_server_that_does_not_answer(own_postgres: PostgresServer) -> None:
    pid = own_postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    own_postgres.stop("fast", timeout_secs=0.5)
    assert gone([pid], 0)
