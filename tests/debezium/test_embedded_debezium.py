"""The embedded Debezium: real changes become real events, and neither a kill nor a failure is silent."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.child import wait_until
from ingestd.embedded.debezium import DebeziumConnect
from ingestd.embedded.debezium_rest import reason_of
from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from ingestd.errors import StartupError
from tests.debezium.events import events
from tests.embedded.parents import gone
from tests.fix_debezium import CHEAP_START, Debezium, delete_topics, named_source

CUSTOMERS = "CREATE TABLE customers (id int PRIMARY KEY, name text, credit numeric(10,2), since timestamptz)"


@pytest.fixture
def source(source_database: str) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A session in the source database, with the table `customers` of two rows."""
    with psycopg.connect(source_database, autocommit=True) as connection:
        connection.execute(CUSTOMERS)
        connection.execute("INSERT INTO customers VALUES (1, 'Ada', 1.50, '2026-01-05Z'), (2, 'Bo', NULL, NULL)")
        yield connection


@pytest.mark.parametrize("schemas", [False, True])
def test_every_kind_of_change_becomes_an_event(
    kafka: KafkaServer, source: "psycopg.Connection[tuple[object, ...]]", debezium: Debezium, schemas: bool
) -> None:
    captured = debezium(tables=(r"public\.customers",), schemas=schemas)
    source.execute("INSERT INTO customers VALUES (3, 'Cy', 0.10, now())")
    source.execute("UPDATE customers SET name = 'Cyd' WHERE id = 3")
    source.execute("UPDATE customers SET id = 4 WHERE id = 2")
    source.execute("DELETE FROM customers WHERE id = 1")
    source.execute("TRUNCATE customers")
    found = events(kafka.bootstrap_servers, f"{captured.prefix}.public.customers", 10)
    # The changed key is a delete with its tombstone and a create, so is the delete without the create.
    assert [event.op for event in found] == ["r", "r", "c", "u", "d", None, "c", "d", None, "t"]
    payloads = [event.value["payload"] if schemas else event.value for event in found if event.value]
    keys = [event.key["payload"] if schemas else event.key for event in found if event.key]
    assert [key["id"] for key in keys] == [1, 2, 3, 3, 2, 2, 4, 1, 1]
    assert payloads[3]["after"]["name"] == "Cyd"
    assert ("schema" in found[0].value, "schema" in found[0].key) == (schemas, schemas)


def test_a_killed_worker_goes_on_where_it_was(
    kafka: KafkaServer, source: "psycopg.Connection[tuple[object, ...]]", source_database: str, server_directory: Path
) -> None:
    """Changes made while it is down are not lost, and the snapshot is not made again."""
    worker = DebeziumConnect(server_directory / "killed", kafka.bootstrap_servers, jvm_options=CHEAP_START)
    captured = named_source(source_database)
    topic = f"{captured.prefix}.public.customers"
    try:
        worker.start()
        worker.add(captured)
        source.execute("UPDATE customers SET credit = 2 WHERE id = 1")
        events(kafka.bootstrap_servers, topic, 3)
        # Killed before anything is noted, it would make the snapshot again, and the delete would be told to nobody.
        assert wait_until(lambda: bool(worker.connectors.noted(captured.name)), 30)
        first = worker.pid
        worker.kill()
        source.execute("DELETE FROM customers WHERE id = 2")
        worker.start()
        assert worker.pid != first
        found = events(kafka.bootstrap_servers, topic, 5)
        ops = [event.op for event in found]
        assert ops[:2] == ["r", "r"] and ops.count("r") == 2
        # The update may come twice: what was not noted yet is sent again.
        assert next(op for op in ops[2:] if op != "u") == "d"
    finally:
        worker.kill()
        delete_topics(kafka, captured.prefix)


def test_changes_go_on_after_source_and_broker_were_restarted(
    kafka: KafkaServer,
    source_postgres: PostgresServer,
    source: "psycopg.Connection[tuple[object, ...]]",
    source_database: str,
    debezium: Debezium,
) -> None:
    captured = debezium()
    topic = f"{captured.prefix}.public.customers"
    events(kafka.bootstrap_servers, topic, 2)
    source_postgres.restart("immediate")
    kafka.restart(graceful=False)
    with psycopg.connect(source_database, autocommit=True) as again:
        again.execute("DELETE FROM customers WHERE id = 1")
        again.execute("INSERT INTO customers VALUES (5, 'Eve', NULL, NULL)")
    assert [event.op for event in events(kafka.bootstrap_servers, topic, 5)] == ["r", "r", "d", None, "c"]


def test_a_failed_task_says_why(
    source: "psycopg.Connection[tuple[object, ...]]", source_database: str, debezium: Debezium
) -> None:
    """A role that may read but not replicate passes Connect's check of the configuration, and fails in the task."""
    source.execute("DROP ROLE IF EXISTS reader")
    source.execute("CREATE ROLE reader LOGIN PASSWORD 'r'")
    url = source_database.replace("postgres@", "reader:r@")
    try:
        with pytest.raises(StartupError, match=r"^the connector cdc_\w+ failed: .*permission denied[^\n]*$"):
            debezium(database_url=url)
    finally:
        source.execute("DROP ROLE reader")


def test_a_database_that_is_not_there_is_named(connect: DebeziumConnect, source_database: str) -> None:
    absent = named_source(source_database + "_no")
    with pytest.raises(StartupError, match=r'invalid.*database "source_\d+_\d+_no" does not exist$') as failure:
        connect.add(absent)
    assert "\n" not in str(failure.value)


def test_no_java_is_left_behind_by_a_killed_parent(kafka: KafkaServer, server_directory: Path) -> None:
    program = (
        "import sys, signal; from pathlib import Path; from ingestd.embedded.debezium import DebeziumConnect\n"
        "worker = DebeziumConnect(Path(sys.argv[1]), sys.argv[2]); worker.start()\n"
        "print(worker.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", program, str(server_directory / "orphan"), kafka.bootstrap_servers]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone([pid], 10)


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (
            "org.x.ConnectException: outer\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: the disk\n\tat d",
            "the disk",
        ),
        ("org.x.ConnectException: No table filters: none\n\tat a", "No table filters: none"),
        ("java.lang.NullPointerException\n\tat a", "java.lang.NullPointerException"),
        ("", ""),
    ],
)
def test_the_innermost_cause_is_the_reason(trace: str, reason: str) -> None:
    assert reason_of(trace) == reason
