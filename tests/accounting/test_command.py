"""`ingestd verify` as it is typed, on what the daemon wrote, with the log as the witness."""

from pathlib import Path

import orjson
import pytest
from confluent_kafka import Producer

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, events, ingestd, write_config
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask

pytestmark = pytest.mark.e2e


def _abort(kafka: KafkaServer, topic: str, values: list[str]) -> None:
    """Records of a transaction that never was: offsets that hold nothing to read."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    producer.abort_transaction(30)


def test_log_is_the_witness_and_the_exit_code_says_so(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    name = topic(1)
    produce(name, [*events(20), "no json"])
    _abort(kafka, name, events(5, first=900))
    produce(name, events(10, first=15))
    file = write_config(tmp_path, kafka.bootstrap_servers, database, name, "dead_letters = { max_ratio = 1.0 }")
    code, daemon = catch_up(file)
    assert code == 0, daemon.log()

    plain = ingestd("verify", "--config", file)
    assert plain.returncode == 0, plain.stderr + plain.stdout
    assert "6 offsets have no record and are assumed to be holes" in plain.stdout
    assert "everything is accounted for (by counts)" in plain.stdout

    proved = ingestd("verify", "--config", file, "--read-log", "--format", "json")
    (report,) = orjson.loads(proved.stdout)
    assert (proved.returncode, report["accounted"], report["table_rows"]) == (0, True, 25)
    (partition,) = report["partitions"]
    assert (partition["assumed_holes"], partition["proved_holes"]) == (0, 6)
    assert (partition["inserted"], partition["duplicates"], partition["dead"]) == (25, 5, 1)

    ask(database, "DELETE FROM events WHERE id = 7")
    lost = ingestd("verify", "--config", file)
    assert lost.returncode == 7
    assert "NOT ACCOUNTED FOR: table events: 1 rows are missing: 25 must be there, 24 are" in lost.stdout
