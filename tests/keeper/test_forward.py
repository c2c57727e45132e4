"""No dead letter is lost on its way to the topic, and each arrives as it was, with its origin and reason."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer

from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import Retryable
from ingestd.keeper.forward import Forward
from ingestd.stores.postgres.letters import PostgresLetters
from ingestd.stores.store import LedgerKey
from tests.fix_servers import MakeTopic
from tests.keeper.conftest import Kept, turn_until
from tests.sinks.contracts import MemoryRecord, ask, decoded

MakeKept = Callable[..., Kept]


def messages(kafka: KafkaServer, topic: str, count: int) -> list[Any]:
    """The first messages of the topic."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "look", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.consume(count, 0.5)
    consumer.close()
    assert [message.error() for message in found] == [None] * count
    return found


def test_letter_arrives_unchanged_with_its_origin_and_reason(
    kept: MakeKept, topic: MakeTopic, kafka: KafkaServer
) -> None:
    name = topic()
    one = kept(kafka.bootstrap_servers, topic=name)
    payload = b'{"id": 7, "v": "\xff\x00"'
    record = MemoryRecord(payload, 0, key_bytes=b"k\x00", pairs=[("trace", b"\x01"), ("trace", None)])
    one.bench.writer.commit(one.bench.writer.prepare([decoded(one.bench.pipeline, [record])]))
    turn_until(one.post(), lambda: one.marked("forwarded") == 1)
    (message,) = messages(kafka, name, 1)
    headers = message.headers()
    assert (message.value(), message.key(), headers[:2]) == (payload, b"k\x00", [("trace", b"\x01"), ("trace", None)])
    said = dict(headers[2:])
    assert said["ingestd.reason"].decode() == ask(one.url, "SELECT reason FROM ingestd.dead_letters")[0][0]
    assert (said["ingestd.pipeline"], said["ingestd.topic"], said["ingestd.partition"], said["ingestd.offset"]) == (
        b"p",
        b"orders",
        b"0",
        b"0",
    )
    assert said["ingestd.stage"] == b"decode"


def test_every_letter_arrives_once_when_nothing_fails(kept: MakeKept, topic: MakeTopic, kafka: KafkaServer) -> None:
    name = topic()
    one = kept(kafka.bootstrap_servers, topic=name)
    one.refuse([b"bad %d" % n for n in range(1200)])
    turn_until(one.post(), lambda: one.marked("forwarded") == 1200)
    assert {m.value() for m in messages(kafka, name, 1200)} == {b"bad %d" % n for n in range(1200)}


def test_letters_wait_while_no_broker_answers(kept: MakeKept) -> None:
    one = kept("127.0.0.1:1", topic="nowhere")
    one.refuse([b"bad"])
    store = type(one.bench.store)(one.config.store, LedgerKey("p", "orders"))
    outbox = PostgresLetters(store, LedgerKey("p", "orders"))
    duty = Forward(one.config.kafka, one.bench.pipeline, outbox)
    duty._settings["message.timeout.ms"] = 1000
    with pytest.raises(Retryable, match="they wait in the table"):
        while True:
            duty.turn()
    assert (one.marked("forwarded"), len(outbox.waiting("forwarded", 10, 1000))) == (0, 1)
    duty.close()
    store.close()


def test_missing_topic_is_named_and_its_letters_are_sent_once_it_is_there(
    kept: MakeKept, topic: MakeTopic, kafka: KafkaServer
) -> None:
    one = kept(kafka.bootstrap_servers, topic="test-made-later")
    one.refuse([b"bad"])
    store = type(one.bench.store)(one.config.store, LedgerKey("p", "orders"))
    duty = Forward(one.config.kafka, one.bench.pipeline, PostgresLetters(store, LedgerKey("p", "orders")))
    duty._settings |= {"message.timeout.ms": 3000, "topic.metadata.propagation.max.ms": 500}
    with pytest.raises(Retryable, match=r"test-made-later.*create the topic"):
        while True:
            duty.turn()
    topic(name="test-made-later")
    deadline = time.monotonic() + 20
    while one.marked("forwarded") == 0 and time.monotonic() < deadline:
        try:
            duty.turn()
        except Retryable:
            continue
    assert [m.value() for m in messages(kafka, "test-made-later", 1)] == [b"bad"]
    duty.close()
    store.close()


def test_letter_larger_than_the_topic_allows_does_not_hold_up_the_others(
    kept: MakeKept, topic: MakeTopic, kafka: KafkaServer
) -> None:
    name = topic(max_message_bytes="10000")
    one = kept(kafka.bootstrap_servers, topic=name)
    small = [b"%d" % n * 300 for n in range(10, 60)]  # too large together, not alone
    one.refuse([b"x" * 20_000, *small])
    turn_until(one.post(), lambda: one.marked("forwarded") == 51)
    found = messages(kafka, name, 51)
    (large,) = [message for message in found if message.value() is None]
    assert dict(large.headers())["ingestd.payload_left_out"] == b"20000 bytes"
    assert {message.value() for message in found} == {None, *small}
