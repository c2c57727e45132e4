"""A worker that reads Avro of a real registry from a real broker into a real database."""

import base64
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ExitCode
from tests.decode.registered import Answers, answering, avro_values
from tests.fix_proxy import MakeProxy
from tests.fix_servers import MakeTopic, Produce
from tests.registry_server import RegistryServer
from tests.sinks.contracts import ask
from tests.worker.worker_process import WorkerProcess

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 3}},
        ],
    }
)
PATH = "/apis/ccompat/v7"

MakeWorker = Callable[[str, str], WorkerProcess]


@pytest.fixture
def worker(kafka: KafkaServer, database: str) -> Iterator[MakeWorker]:
    """`worker(topic, registry_url)` starts one on table `orders (id, amount)`."""
    made: list[WorkerProcess] = []
    ask(database, "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(10,3))")

    def start(topic: str, url: str) -> WorkerProcess:
        columns = [{"name": "id", "type": "int8", "required": True}, {"name": "amount", "type": "numeric(10,3)"}]
        table = {"name": "orders", "mode": "insert", "key": ["id"]}
        config: dict[str, Any] = {
            "kafka": {"bootstrap_servers": kafka.bootstrap_servers, "group_id": "formats"},
            "store": {"url": database},
            "schema_registry": {"url": url},
            "pipeline": [{"name": "p", "topic": topic, "format": "avro", "column": columns, "table": table}],
        }
        made.append(WorkerProcess(config, [0]))
        return made[-1]

    yield start
    for one in made:
        one.end()


def orders(registry: RegistryServer, topic: str, first: int, count: int) -> list[bytes]:

    values = [{"id": n, "amount": Decimal(n).scaleb(-3)} for n in range(first, first + count)]
    return avro_values(registry.url, topic, SCHEMA, values)


def count(url: str) -> int:
    return int(ask(url, "SELECT count(*) FROM orders")[0][0])


def test_registry_that_is_away_is_waited_for_and_nothing_is_refused(
    worker: MakeWorker,
    topic: MakeTopic,
    produce: Produce,
    database: str,
    registry: RegistryServer,
    proxy: MakeProxy,
) -> None:
    name = topic()
    values = orders(registry, name, 0, 300)
    spoilt = [b"\0\x7f\xff\xff\xff" + values[0][5:], b'{"id": 1}', values[0][:-1]]
    between = proxy("127.0.0.1", registry.port)
    between.stop()
    produce(name, [*values[:200], *spoilt, *values[200:]])
    one = worker(name, f"http://reader:hidden@127.0.0.1:{between.port}{PATH}")
    one.until(lambda: one.lanes and one.lanes[0]["state"] == "RETRYING")
    assert f"http://127.0.0.1:{between.port}{PATH}: cannot be reached" in one.lanes[0]["text"]
    assert "hidden" not in "".join(one.errors) + one.lanes[0]["text"]
    assert ask(database, "SELECT count(*) FROM ingestd.dead_letters") == [(0,)]
    between.start()
    one.until(lambda: count(database) == 300 and one.lanes[0]["next_offset"] == 303)
    assert ask(database, "SELECT sum(amount) FROM orders")[0][0] * 1000 == sum(range(300))
    dead = ask(database, "SELECT \"offset\", encode(payload, 'base64') FROM ingestd.dead_letters ORDER BY 1")
    written = [(offset, base64.b64decode(payload)) for offset, payload in dead]
    assert written == list(zip(range(200, 203), spoilt, strict=True)), "the original bytes, not our JSON"


def test_registry_that_denies_access_halts_the_partition(
    worker: MakeWorker, topic: MakeTopic, produce: Produce
) -> None:
    name, answers = topic(), Answers()
    answers.status = 401
    produce(name, [b"\0\0\0\0\1\2\2"])
    with answering(answers) as url:
        one = worker(name, url)
        assert one.exit_code() == ExitCode.HALTED
    assert "access denied" in one.lanes[0]["text"]
    assert "Traceback" not in "".join(one.errors)
