"""The examples as they are, against servers that environment variables name."""

import json
import os
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.transactions import Transactions, spare_users
from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, ingestd
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PASSWORD = "pa:ss/w@rd%41"
TRANSACTIONS_DDL = """CREATE TABLE transactions_sink(tx_id VARCHAR PRIMARY KEY, user_id VARCHAR NOT NULL,
amount DECIMAL(10,2) NOT NULL, currency VARCHAR(3) NOT NULL, merchant VARCHAR(255) NOT NULL,
category VARCHAR(100) NOT NULL, timestamp TIMESTAMP NOT NULL, ingested_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"""
SHAPE = """SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum"""
CONSTRAINTS = "SELECT contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass ORDER BY 1, 2"


def example(name: str, directory: Path) -> Path:
    """A copy of the example whose status page takes a free port."""
    shutil.copytree(ROOT / "examples" / name, directory / name)
    file = directory / name / "ingestd.toml"
    file.write_text(file.read_text() + '\n[status]\nlisten = "127.0.0.1:0"\n')
    return file


def variables(kafka: KafkaServer, database: str) -> dict[str, str]:
    """The names that users have in their `.env`, with a role that needs a password."""
    parts = conninfo_to_dict(database)
    role = f"app_{parts['dbname']}"
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD))
        )
        name = sql.Identifier(str(parts["dbname"]))
        connection.execute(sql.SQL("GRANT ALL ON DATABASE {} TO {}").format(name, sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(role)))
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(parts["port"]),
        "POSTGRES_DB": str(parts["dbname"]),
        "POSTGRES_USER": role,
        "POSTGRES_PASSWORD": PASSWORD,
    }


def shape(database: str, table: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return [connection.execute(query, (table,)).fetchall() for query in (SHAPE, CONSTRAINTS)]


def remake(database: str, ddl: str, table: str) -> list[Any]:
    """The shape that this DDL gives, in the table's place."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*table.split("."))))
        connection.execute(ddl.encode())
    return shape(database, table)


def fetch(database: str, query: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()


def test_transactions_fill_the_table_of_the_contract_to_the_cent(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    topic(4, name="transactions")
    payments = [value for _, value in Transactions(spare_users(1), seed=1).take(5_000)]
    drifting = [payments[0].replace(json.loads(payments[0])["tx_id"].encode(), b"exact-%d" % n) for n in range(3)]
    amounts = [b"0.1", b"0.2", b"99999999.99"]
    drifting = [re.sub(rb'"amount":[0-9.]+', b'"amount":' + a, v) for a, v in zip(amounts, drifting, strict=True)]
    too_many_digits = re.sub(rb'"amount":[0-9.]+', b'"amount":1.005', payments[1]).replace(b'"tx_id":"', b'"tx_id":"x')
    produce("transactions", [*payments, *drifting, too_many_digits, payments[7]])
    environment = variables(kafka, database)

    code, daemon = catch_up(example("transactions", tmp_path), environment)

    assert code == 0, daemon.log()
    expected = {}
    for value in [*payments, *drifting]:
        record = json.loads(value, parse_float=Decimal, parse_int=Decimal)
        expected[record["tx_id"]] = record["amount"]
    assert dict(fetch(database, "SELECT tx_id, amount FROM transactions_sink")) == expected
    assert fetch(database, "SELECT sum(amount) FROM transactions_sink") == [(sum(expected.values()),)]
    assert fetch(database, "SELECT column_name, stage FROM ingestd.dead_letters") == [("amount", "decode")]
    assert fetch(database, "SELECT count(*) FROM transactions_sink WHERE ingested_at IS NULL") == [(0,)]
    assert "ss/w@rd" not in daemon.log()
    found = shape(database, "transactions_sink")
    assert found == remake(database, TRANSACTIONS_DDL, "transactions_sink")


def test_sales_fill_their_table_and_answer_the_users_questions(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    topic(3, name="sales")
    line = '{{"id": "s{0}", "ts": "2025-08-15T10:00:{1:02}Z", "store_id": "7", "amount_usd": {1}.05, "channel": "web"}}'
    sales = [line.format(number, number % 60) for number in range(2_000)]
    produce("sales", [*sales, *sales[:100]])
    environment = variables(kafka, database)
    file = example("sales", tmp_path)

    checked = ingestd("check", "--config", file, env={**os.environ, **environment})
    code, daemon = catch_up(file, environment)

    assert checked.returncode == 0, checked.stdout
    assert code == 0, daemon.log()
    counted = fetch(database, "SELECT count(*), max(ts)::text, sum(amount_usd) FROM public.sales_events")
    assert counted[0][0] == 2_000
    assert counted[0][1].startswith("2025-08-15 10:00:59")
    assert counted[0][2] == sum(Decimal(number % 60) + Decimal("0.05") for number in range(2_000))
    assert fetch(database, "SELECT sum(duplicates) FROM ingestd.cursors") == [(100,)]
    found = shape(database, "public.sales_events")
    assert found == remake(database, (ROOT / "examples" / "sales" / "ddl.sql").read_text(), "public.sales_events")
