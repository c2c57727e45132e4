"""examples/cdc, as it stands: a real PostgreSQL, a real Debezium, runs, and current equals the source."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.debezium.events import events
from tests.e2e.running import catch_up, ingestd
from tests.fix_debezium import Debezium

EXAMPLE = Path(__file__).parents[2] / "examples" / "cdc" / "ingestd.toml"
TABLES = """
CREATE TABLE customers (id int PRIMARY KEY, name text, credit numeric(10,2), since timestamptz, notes text);
ALTER TABLE customers ALTER notes SET STORAGE EXTERNAL;
CREATE TABLE orders (customer int, number int, items text[], PRIMARY KEY (customer, number));
"""
LONG = "x" * 5000


@pytest.fixture
def source(source_database: str) -> Any:
    with psycopg.connect(source_database, autocommit=True) as connection:
        connection.execute(TABLES)
        yield connection


@pytest.fixture
def run(tmp_path: Path, kafka: KafkaServer) -> Callable[[str], None]:
    """`run(topics)` is what a schedule would do: read what there is, then make the tables of it."""

    def chain(topics: str) -> None:
        file = tmp_path / "ingestd.toml"
        file.write_text(EXAMPLE.read_text() + '\n[status]\nlisten = "127.0.0.1:0"\n')
        environment = {
            "KAFKA_BOOTSTRAP": kafka.bootstrap_servers,
            "TOPICS": topics,
            "BRONZE_BASE_PATH": str(tmp_path / "lake"),
            "METADATA_DB": str(tmp_path / "metadata.db"),
            "LOG_BASE_PATH": str(tmp_path / "logs"),
        }
        code, daemon = catch_up(file, environment)
        assert code == 0, daemon.log()
        for verb in ("compact", "stage", "current"):
            done = ingestd("lake", verb, "--config", file, env=os.environ | environment)
            assert done.returncode == 0, done.stderr
            assert "waiting" not in done.stderr

    return chain


def _current(tmp_path: Path, query: str) -> list[Any]:
    return duckdb.sql(query.replace("CURRENT", f"{tmp_path}/lake/current")).fetchall()


def test_current_equals_the_source_after_every_run(
    tmp_path: Path, kafka: KafkaServer, source: Any, debezium: Debezium, run: Callable[[str], None]
) -> None:
    # A changed key with an unchanged TOASTed value would be a create without it: a dead letter.
    for number in range(20):
        source.execute(
            "INSERT INTO customers VALUES (%s, %s, %s, now(), %s)",
            (number, f"c{number}", number / 4, LONG if number < 15 else "short"),
        )
        source.execute("INSERT INTO orders VALUES (%s, 1, ARRAY['a', NULL, %s])", (number, str(number)))
    captured = debezium(schemas=True)
    topics = [f"{captured.prefix}.public.{table}" for table in ("customers", "orders")]
    for topic in topics:
        events(kafka.bootstrap_servers, topic, 20)
    run(",".join(topics))
    _check(tmp_path, source)
    source.execute("UPDATE customers SET name = 'new', credit = NULL WHERE id < 5")
    source.execute("UPDATE customers SET id = id + 100 WHERE id >= 15")
    source.execute("DELETE FROM customers WHERE id = 7")
    source.execute("ALTER TABLE customers ADD COLUMN city text")
    source.execute("INSERT INTO customers (id, city) VALUES (50, 'Rome')")
    source.execute("DELETE FROM orders WHERE customer > 3")
    events(kafka.bootstrap_servers, topics[0], 20 + 5 + 5 * 3 + 2 + 1)
    events(kafka.bootstrap_servers, topics[1], 20 + 16 * 2)
    run(f"{captured.prefix}.public.*")
    _check(tmp_path, source)
    assert _current(tmp_path, "SELECT city FROM 'CURRENT/customers/*.parquet' WHERE id = 50") == [("Rome",)]
    logs = sorted((tmp_path / "logs").glob("run_*.log"))
    assert len(logs) == 2
    assert all(json.loads(line)["event"] for log in logs for line in log.read_text().splitlines())


def _check(tmp_path: Path, source: Any) -> None:
    wanted = source.execute("SELECT id, name, credit, since, notes FROM customers ORDER BY id").fetchall()
    query = "SELECT id, name, credit, since::VARCHAR, notes FROM 'CURRENT/customers/*.parquet' ORDER BY id"
    found = _current(tmp_path, f"SET TimeZone = 'UTC'; {query}")
    assert [row[:3] + row[4:] for row in found] == [row[:3] + row[4:] for row in wanted]
    assert [row[3] and row[3][:19] for row in found] == [row[3] and f"{row[3]:%Y-%m-%d %H:%M:%S}" for row in wanted]
    orders = source.execute("SELECT customer, number, items FROM orders ORDER BY 1, 2").fetchall()
    assert _current(tmp_path, "SELECT customer, number, items FROM 'CURRENT/orders/*.parquet' ORDER BY 1, 2") == orders
