"""A real source database and a real Debezium of the whole test run, started by the first test that asks for them."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg import sql

from ingestd.embedded.debezium import DebeziumConnect
from ingestd.embedded.debezium_source import DebeziumSource
from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer

_NUMBERS = itertools.count(1)

LOGICAL = {"wal_level": "logical", "max_wal_senders": "50", "max_replication_slots": "50"}
CHEAP_START = ("-XX:TieredStopAtLevel=1",)
"""For tests: 3.4 s of CPU instead of 5.4 for a start; the rate of changes suffers, which no test measures."""

Debezium = Callable[..., DebeziumSource]


@pytest.fixture(scope="session")
def source_postgres(server_directory: Path) -> Iterator[PostgresServer]:
    """The server that changes are captured from; not the one that copies go to."""
    server = PostgresServer(server_directory / "source", settings={"fsync": "off", **LOGICAL})
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def source_database(source_postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh source database, dropped after the test with its replication slots."""
    name = f"source_{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(source_postgres.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield source_postgres.url(name)
    with psycopg.connect(source_postgres.url(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(active_pid, 10000) FROM pg_replication_slots WHERE database = %s AND active",
            [name],
        )
        connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s", [name]
        )
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def connect(kafka: KafkaServer, server_directory: Path) -> Iterator[DebeziumConnect]:
    """The Connect worker of the run. A test that kills one makes its own."""
    server = DebeziumConnect(server_directory / "connect", kafka.bootstrap_servers, jvm_options=CHEAP_START)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def debezium(kafka: KafkaServer, connect: DebeziumConnect, source_database: str) -> Iterator[Debezium]:
    """`debezium(tables=.., partitions=1, schemas=False, snapshot="initial", ..)` captures the source database.

    Takes the fields of DebeziumSource and returns it; name, slot, publication and topic prefix are new each time. Make
    the tables first. Connectors and topics are gone after the test.
    """
    running: list[DebeziumSource] = []

    def capture(**fields: Any) -> DebeziumSource:
        source = named_source(fields.pop("database_url", source_database), **fields)
        connect.add(source)
        running.append(source)
        return source

    yield capture
    for source in running:
        connect.remove(source.name)
    delete_topics(kafka, *(source.prefix for source in running))


def named_source(database_url: str, **fields: Any) -> DebeziumSource:
    """A source whose names nobody else has; a caller that runs it itself calls `delete_topics` afterwards."""
    name = f"cdc_{os.getpid()}_{next(_NUMBERS)}"
    chosen = {"name": name, "slot": name, "publication": name, "prefix": name, **fields}
    return DebeziumSource(database_url=database_url, **chosen)


def delete_topics(kafka: KafkaServer, *prefixes: str) -> None:
    """Delete what connectors of these topic prefixes made."""
    if not prefixes or not kafka.pid:
        return
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    starts = tuple(f"{prefix}." for prefix in prefixes) + tuple(f"__debezium-heartbeat.{prefix}" for prefix in prefixes)
    names = [name for name in admin.list_topics(timeout=30).topics if name.startswith(starts)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result(30)
