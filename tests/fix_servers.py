"""The real broker and the real database of the whole test run, and what a test needs of them."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from psycopg import sql

from ingestd.embedded.kafka import KafkaServer, make_startup_cache
from ingestd.embedded.postgres import PostgresServer

_NUMBERS = itertools.count(1)

MakeTopic = Callable[..., str]
Produce = Callable[..., None]


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """A directory that PostgreSQL's own user may enter (pytest's tmp_path is closed to it)."""
    directory = Path(tempfile.mkdtemp(prefix="ingestd-tests-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def kafka(server_directory: Path) -> Iterator[KafkaServer]:
    """The broker of the run. A test that stops it must start it again."""
    # 15 s once for each machine; each of the many brokers of the tests then costs 3 s of CPU less.
    make_startup_cache()
    server = KafkaServer(server_directory / "kafka")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres(server_directory: Path) -> Iterator[PostgresServer]:
    """The database server of the run; `postgres` needs no password, every other role does."""
    # fsync protects from a crash of the machine only; without it CREATE DATABASE takes 50 ms.
    server = PostgresServer(server_directory / "postgres", settings={"fsync": "off", "max_connections": "200"})
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture
def topic(kafka: KafkaServer) -> Iterator[MakeTopic]:
    """`topic(partitions=1, name=None, **settings)` makes a topic and returns its name; deleted after the test."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    made: list[str] = []

    def make(partitions: int = 1, name: str | None = None, **settings: str) -> str:
        chosen = name or f"test-{os.getpid()}-{next(_NUMBERS)}"
        config = {key.replace("_", "."): value for key, value in settings.items()}
        admin.create_topics([NewTopic(chosen, partitions, 1, config=config)])[chosen].result(30)
        made.append(chosen)
        return chosen

    yield make
    for name, future in admin.delete_topics(made).items() if made and kafka.pid else ():
        try:
            future.result(30)
        except KafkaException as error:
            # The test deleted it itself.
            assert error.args[0].name() == "UNKNOWN_TOPIC_OR_PART", f"{name}: {error}"


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database, dropped after the test with whoever is still connected."""
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield postgres.url(name)
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def produce(kafka: KafkaServer) -> Iterator[Produce]:
    """`produce(topic, values, partition=None, key=None, headers=None)` returns when every value is in the log.

    `key` is one for all, or a function of the value; a value of None is a tombstone.
    """
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 5, "enable.idempotence": True})

    def send(
        topic: str,
        values: Sequence[bytes | str | None],
        partition: int | None = None,
        key: bytes | str | Callable[[bytes | str | None], bytes | str | None] | None = None,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> None:
        refused: list[object] = []
        where = -1 if partition is None else partition

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                refused.append(error)

        for value in values:
            chosen_key = key(value) if callable(key) else key
            while True:
                try:
                    producer.produce(
                        topic, value, chosen_key, where, on_delivery=delivered, headers=list(headers or ())
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0, f"{topic}: not everything was produced"
        assert not refused, f"{topic}: {refused[0]}"

    yield send
    producer.flush(5)
