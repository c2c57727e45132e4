"""The shared servers and what fix_servers.py offers."""

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from tests.fix_servers import MakeTopic, Produce


def test_produced_values_are_in_the_log(kafka: KafkaServer, topic: MakeTopic, produce: Produce) -> None:
    name = topic(partitions=2, cleanup_policy="compact")
    produce(name, [b"one", "two", None], partition=1, key=b"k", headers=[("h", b"v")])
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": name})
    try:
        consumer.assign([TopicPartition(name, 1, 0)])
        records = consumer.consume(3, 30)
    finally:
        consumer.close()
    assert [(record.value(), record.key(), record.headers()) for record in records] == [
        (b"one", b"k", [("h", b"v")]),
        (b"two", b"k", [("h", b"v")]),
        (None, b"k", [("h", b"v")]),
    ]


def test_database_is_fresh(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)


def test_a_role_with_a_wrong_password_is_refused(postgres: PostgresServer, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'right'")
        try:
            psycopg.connect(database, user="reader", password="right").close()
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(database, user="reader", password="wrong")
        finally:
            connection.execute("DROP ROLE reader")
