"""Servers, logs and flows of the fault suite, and the summary that it prints at its end.

The servers are its own: several tests kill them.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.embedded.kafka import KafkaServer, make_startup_cache
from ingestd.embedded.postgres import PostgresServer
from tests.fault.content import Feed, payments
from tests.fault.flow import Flow, Shape
from tests.fault.tally import TALLIES, Tally

RECORDS = 200_000
_NUMBERS = itertools.count(1)

MakeFlow = Callable[..., Flow]
MakeFeed = Callable[..., Feed]


class Servers(NamedTuple):
    kafka: KafkaServer
    postgres: PostgresServer


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A broker and a database for tests that kill them; a test leaves them running."""
    directory = Path(tempfile.mkdtemp(prefix="ingestd-fault-"))
    directory.chmod(0o711)
    make_startup_cache()
    kafka = KafkaServer(directory / "kafka")
    # fsync protects from a crash of the machine only, and no test crashes it.
    postgres = PostgresServer(directory / "postgres", settings={"fsync": "off", "max_connections": "100"})
    try:
        kafka.start()
        postgres.start()
        yield Servers(kafka, postgres)
    finally:
        kafka.kill()
        postgres.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


def make_topic(kafka: KafkaServer, partitions: int = 4) -> str:
    admin, name = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}), f"payments-{next(_NUMBERS)}"
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
    return name


def _filled(kafka: KafkaServer, duplicate_every: int) -> str:
    name = make_topic(kafka)
    feed = Feed(kafka.bootstrap_servers, name, payments(duplicate_every))
    feed.send(RECORDS)
    assert feed.finish() == RECORDS
    return name


@pytest.fixture(scope="session")
def mixed_log(servers: Servers) -> str:
    """A topic of 200,000 payments: 1 % bad, 2 % with the key of an earlier one."""
    return _filled(servers.kafka, duplicate_every=50)


@pytest.fixture(scope="session")
def plain_log(servers: Servers) -> str:
    """The same without duplicates: COPY goes straight into the table."""
    return _filled(servers.kafka, duplicate_every=0)


@pytest.fixture
def feed(servers: Servers) -> Iterator[MakeFeed]:
    """`feed(duplicate_every=50)` makes a fresh topic and its producer."""
    made: list[Feed] = []

    def make(duplicate_every: int = 50) -> Feed:
        topic = make_topic(servers.kafka)
        made.append(Feed(servers.kafka.bootstrap_servers, topic, payments(duplicate_every)))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def flow(servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeFlow]:
    """`flow(topic, mode=.., ..)`: a fresh database and table for this topic; see Shape."""
    made: list[Flow] = []
    tallies = request.config.stash.setdefault(TALLIES, [])

    def make(topic: str, **shape: object) -> Flow:
        name = f"fault_{os.getpid()}_{next(_NUMBERS)}"
        with psycopg.connect(servers.postgres.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        tallies.append(Tally(request.node.name.removeprefix("test_")))
        url, chosen = servers.postgres.url(name), Shape(**shape)  # type: ignore[arg-type]
        directory = tmp_path / name
        directory.mkdir()
        made.append(Flow(directory, servers.kafka.bootstrap_servers, url, topic, chosen, tallies[-1]))
        return made[-1]

    yield make
    for one in made:
        one.destroy()
