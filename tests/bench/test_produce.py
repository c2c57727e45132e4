"""`python -m bench` as a user runs it, against the real broker."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, TopicPartition

from bench.broker import client_properties, spans
from bench.hostile import DECODE_KINDS
from bench.users import read_user_ids
from ingestd.embedded.kafka import KafkaServer

ROOT = Path(__file__).parents[2]


def bench(*arguments: str | Path, server: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": server},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def values(kafka: KafkaServer, topic: str) -> list[list[bytes]]:
    """All values of the topic, by partition."""
    held = spans(client_properties(kafka.bootstrap_servers, []), topic)
    reader = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "bench-test", "enable.auto.commit": False}
    )
    found: list[list[bytes]] = []
    for partition, (start, end) in enumerate(held):
        reader.assign([TopicPartition(topic, partition, start)])
        part: list[bytes] = []
        deadline = time.monotonic() + 30
        while len(part) < end - start and time.monotonic() < deadline:
            part += [message.value() or b"" for message in reader.consume(1000, 0.5)]
        found.append(part)
    reader.close()
    return found


def test_users_and_transactions_refer_to_each_other(kafka: KafkaServer, tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    assert bench("users", "--count", "50", "--out", users).returncode == 0
    done = bench(
        *("produce", "--profile", "transactions", "--topic", "bench-users", "--users", users),
        *("--messages", "2000", "--partitions", "4", "--rate", "max"),
        server=kafka.bootstrap_servers,
    )
    assert done.returncode == 0, done.stderr
    sent = [value for part in values(kafka, "bench-users") for value in part]
    assert len(sent) == 2000
    assert {msgspec.json.decode(value)["user_id"] for value in sent} <= set(read_user_ids(users))
    assert re.search(r"^sent 2,000 failed 0 in [\d.]+ s: [\d,]+/s$", done.stdout, re.MULTILINE)


def test_bad_records_are_counted_by_kind_and_all_others_are_good(kafka: KafkaServer) -> None:
    done = bench(
        *("produce", "--topic", "bench-bad", "--profile", "transactions"),
        *("--messages", "10000", "--bad", "0.016", "--seed", "4"),
        server=kafka.bootstrap_servers,
    )
    assert done.returncode == 0, done.stderr
    printed = Counter({kind: int(number) for kind, number in re.findall(r"(\w+)=(\d+)", done.stdout)})
    assert printed == Counter(dict.fromkeys(DECODE_KINDS, 20))
    sent = [value for part in values(kafka, "bench-bad") for value in part]
    assert sum(value.endswith(b"}") and value.startswith(b"{") for value in sent) == 10_000 - 20 - 20
    assert sum(value.startswith(b"[") for value in sent) == 20
    assert sum(b'"twelve"' in value for value in sent) == 20
    assert sum(b"\xff" in value for value in sent) == 20


def test_skew_sends_its_share_to_partition_0(kafka: KafkaServer) -> None:
    done = bench(
        *("produce", "--topic", "bench-skew", "--partitions", "3", "--messages", "6000", "--skew", "0.8"),
        server=kafka.bootstrap_servers,
    )
    assert done.returncode == 0, done.stderr
    held = [end - start for start, end in spans(client_properties(kafka.bootstrap_servers, []), "bench-skew")]
    assert sum(held) == 6000
    assert 4600 < held[0] < 5000
    assert min(held[1:]) > 450


def test_topic_is_created_grown_and_described(kafka: KafkaServer) -> None:
    made = bench(
        *("topic", "--topic", "bench-topic", "--create", "--partitions", "2", "--retention-ms", "60000"),
        server=kafka.bootstrap_servers,
    )
    assert "2 partitions, 1 replicas, retention.ms=60000" in made.stdout, made.stderr
    grown = bench(*("topic", "--topic", "bench-topic", "--create", "--partitions", "5"), server=kafka.bootstrap_servers)
    assert "5 partitions, 1 replicas, retention.ms=60000" in grown.stdout, grown.stderr
    again = bench(
        *("produce", "--topic", "bench-topic", "--messages", "1", "--partitions", "4"), server=kafka.bootstrap_servers
    )
    assert again.returncode == 1
    assert "has 5 partitions, not 4" in again.stderr


def test_broker_down_is_one_line_and_exit_code_1() -> None:
    done = bench("produce", "--topic", "sales", "--sales-per-second", "3")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is Kafka running there?" in done.stderr


def test_topic_that_is_not_there_says_how_to_make_it(kafka: KafkaServer) -> None:
    done = bench("topic", "--topic", "bench-nowhere", "--describe", server=kafka.bootstrap_servers)
    assert done.returncode == 1
    assert "--topic bench-nowhere --create" in done.stderr


def test_interrupt_sends_what_is_queued_and_says_how_much(kafka: KafkaServer) -> None:
    command = [sys.executable, "-m", "bench", "produce", "--topic", "bench-stop", "--rate", "20000"]
    command += ["--bootstrap-server", kafka.bootstrap_servers]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    lines = iter(child.stderr.readline, "")
    assert any(line.startswith("bench-stop: ") for line in lines)
    child.send_signal(signal.SIGINT)
    out, rest = child.communicate(timeout=30)
    assert child.returncode == 0, rest
    assert "Traceback" not in rest
    (said,) = re.findall(r"^stopped; sent ([\d,]+) failed 0", out, re.MULTILINE)
    held = spans(client_properties(kafka.bootstrap_servers, []), "bench-stop")
    assert int(said.replace(",", "")) == sum(end - start for start, end in held) > 0


def test_record_that_breaks_the_contract_is_refused_before_it_is_sent(kafka: KafkaServer, tmp_path: Path) -> None:
    example = (ROOT / "examples/sales/ingestd.toml").read_text()
    web = example.replace('{ name = "channel", type = "text"', '{ name = "channel", type = "text", enum = ["web"]')
    (tmp_path / "web.toml").write_text(web)
    words = ("produce", "--profile", "sales", "--topic", "bench-contract", "--partitions", "1", "--seed", "3")
    done = bench(*words, "--messages", "1000", "--contract", tmp_path / "web.toml", server=kafka.bootstrap_servers)
    assert done.returncode == 1
    assert re.search(r"refused before sending \d[\d,]*: channel: not one of the allowed values", done.stderr)
    (found,) = values(kafka, "bench-contract")
    assert len(found) == 1000 and {msgspec.json.decode(value)["channel"] for value in found} == {"web"}


def test_nothing_is_sent_when_every_record_breaks_the_contract(kafka: KafkaServer, tmp_path: Path) -> None:
    example = (ROOT / "examples/sales/ingestd.toml").read_text()
    (tmp_path / "none.toml").write_text(example.replace('name = "id",', 'name = "id", max_length = 3,'))
    words = ("produce", "--profile", "sales", "--topic", "bench-none", "--messages", "10")
    done = bench(*words, "--contract", tmp_path / "none.toml", server=kafka.bootstrap_servers)
    assert (done.returncode, len(done.stderr.splitlines()[-1:])) == (1, 1)
    assert "break the contract" in done.stderr and "id: longer than 3 characters" in done.stderr
    assert sum(map(len, values(kafka, "bench-none"))) == 0
