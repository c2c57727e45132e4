"""New fields become columns, with nothing lost: two workers, locks, names that are no columns, a restart."""

import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import structlog

from ingestd.config import options as cfg
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode
from ingestd.stores.open import open_store
from ingestd.stores.store import LedgerKey
from ingestd.worker.evolution import Evolution, NewFields
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask
from tests.worker.worker_process import WorkerProcess

MakeWorker = Callable[..., WorkerProcess]
SETTINGS = {"max_ratio": 1.0, "max_run": 1_000_000}


@pytest.fixture
def worker(kafka: KafkaServer, database: str) -> Iterator[MakeWorker]:
    """`worker(topic, partitions=[0], url=None, **pipeline)` starts one that fills and evolves table `orders`."""
    made: list[WorkerProcess] = []
    ask(database, "CREATE TABLE orders (id int PRIMARY KEY, v int, \"secret\" text DEFAULT 'kept')")

    def start(topic: str, partitions: list[int] | None = None, **more: Any) -> WorkerProcess:
        pipeline: dict[str, Any] = {
            "name": "p",
            "topic": topic,
            "column": [{"name": "id", "type": "int4", "required": True}, {"name": "v", "type": "int4"}],
            "table": {"name": "orders", "mode": "insert", "key": ["id"]},
            "on_new_field": "evolve",
            "dead_letters": SETTINGS,
            **more,
        }
        config = {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group_id": "workers"},
            "store": {"url": database},
            "pipeline": [pipeline],
        }
        made.append(WorkerProcess(config, [0] if partitions is None else partitions))
        return made[-1]

    yield start
    for one in made:
        one.end()


def _rows(url: str) -> int:
    return int(ask(url, "SELECT count(*) FROM orders")[0][0])


def _columns(url: str) -> list[tuple[str, str]]:
    found = ask(
        url,
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'orders'::regclass AND attnum > 3 ORDER BY attname COLLATE \"C\"",
    )
    return [(name, kind) for name, kind in found]


def test_a_new_field_in_the_middle_of_two_workers_batches_loses_nothing(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(2)
    for partition in (0, 1):
        first = partition * 10_000
        plain = [{"id": first + n, "v": n} for n in range(3_000)]
        richer = [{"id": first + n, "v": n, "price": n / 4, "note": f"n{n}", "n": n} for n in range(3_000, 4_500)]
        produce(name, [orjson.dumps(one) for one in plain + richer], partition)
    one, other = worker(name, [0]), worker(name, [1])
    one.until(lambda: _rows(database) == 9_000)
    assert _columns(database) == [("n", "bigint"), ("note", "text"), ("price", "double precision")]
    wrong = (
        "SELECT count(*) FROM orders WHERE (v >= 3000) IS DISTINCT FROM (price IS NOT NULL) OR price <> v / 4.0"
        " OR (v >= 3000) IS DISTINCT FROM (note IS NOT NULL) OR note <> 'n' || v OR n <> v"
    )
    assert ask(database, wrong) == [(0,)]
    one.until(lambda: one.lanes[0]["next_offset"] == 4_500 and other.lanes[1]["next_offset"] == 4_500)
    for each in (one, other):
        each.process.send_signal(signal.SIGTERM)
        assert each.exit_code() == ExitCode.OK
    # A restart knows the columns: the ledger remembers them.
    produce(name, [orjson.dumps({"id": 50_000, "price": 0.5}), b'{"id":50001,"price":"no number"}'], 0)
    again = worker(name, [0])
    again.until(lambda: again.lanes.get(0, {}).get("next_offset") == 4_502)
    assert ask(database, "SELECT price, note FROM orders WHERE id = 50000") == [(0.5, None)]
    assert ask(database, "SELECT column_name FROM ingestd.dead_letters") == [("price",)]
    assert ask(database, "SELECT sum(records)::int, sum(inserted)::int FROM ingestd.cursors") == [(9_002, 9_001)]


def test_hostile_names_and_columns_of_the_table_are_never_filled(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(1)
    fields = {
        'x"; DROP TABLE orders; --': 1,
        "x'; DROP TABLE orders; --": 1,
        "secret": "stolen",
        "SECRET": "stolen",
        "ctid": 1,
        "xmin": 1,
        "ingestd_row": 1,
        "n" * 64: 1,
        "a.b": 1,
        "": 1,
        "\n": 1,
        "%s %(x)s {} $1": 1,
        "select": 1,
        "<script>": 1,
        "ü": 1,
    }
    produce(name, [orjson.dumps({"id": n, "v": 1, **fields}) for n in range(10)], 0)
    one = worker(name)
    one.until(lambda: one.lanes.get(0, {}).get("next_offset") == 10)
    assert [column for column, _ in _columns(database)] == [
        "%s %(x)s {} $1",
        "<script>",
        "select",
        "x'; DROP TABLE orders; --",
        "ü",
    ]
    assert ask(database, 'SELECT DISTINCT secret, "select", "ü", "%s %(x)s {} $1" FROM orders') == [("kept", 1, 1, 1)]


def test_at_most_100_columns_are_added_and_ingestion_goes_on(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(1)
    produce(name, [orjson.dumps({"id": n, f"f{n:03}": n}) for n in range(150)], 0)
    one = worker(name)
    one.until(lambda: one.lanes.get(0, {}).get("next_offset") == 150)
    assert _columns(database) == [(f"f{n:03}", "bigint") for n in range(100)]
    assert _rows(database) == 150
    assert "RETRYING" not in one.states[0]


def test_a_locked_table_is_waited_for_and_the_field_is_not_lost(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(1)
    produce(name, [orjson.dumps({"id": n, "v": 1}) for n in range(10)], 0)
    one = worker(name)
    one.until(lambda: _rows(database) == 10)
    with psycopg.connect(database) as reader:
        reader.execute("SELECT count(*) FROM orders")
        produce(name, [b'{"id":10,"late":"x"}'], 0)
        one.until(lambda: "RETRYING" in one.states[0])
        assert _columns(database) == []
    one.until(lambda: _rows(database) == 11)
    assert ask(database, "SELECT late FROM orders WHERE id = 10") == [("x",)]


def test_without_the_option_new_fields_change_nothing(
    worker: MakeWorker, topic: MakeTopic, produce: Produce, database: str
) -> None:
    name = topic(1)
    produce(name, [b'{"id":1,"x":1}'], 0)
    one = worker(name, on_new_field="ignore")
    one.until(lambda: _rows(database) == 1)
    assert _columns(database) == []


def test_a_record_of_many_new_fields_does_not_fill_the_log(tmp_path: Path) -> None:
    store = cfg.Store(url=f"sqlite:///{tmp_path / 'silver.db'}")
    sqlite3.connect(tmp_path / "silver.db").execute("CREATE TABLE t (id INTEGER)").connection.close()
    pipeline = cfg.Pipeline(
        name="p",
        topic="t",
        on_new_field="evolve",
        column=(cfg.Column(name="id", type="int8"),),
        table=cfg.Table(name="t"),
    )
    ledger = open_store(store, LedgerKey("p", "t"))
    ledger.prepare()
    with structlog.testing.capture_logs() as lines:
        evolution = Evolution(store, pipeline, structlog.get_logger())
        evolution.absorb(ledger, NewFields({f"f{n}": "int8" for n in range(20_000)}))
    ledger.close()
    ignored = [line for line in lines if line["log_level"] == "warning"]
    assert len(ignored) == 21 and ignored[-1]["fields"] == 19_880
