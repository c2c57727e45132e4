"""Change events as they are in Kafka. Knows nothing of how ingestd reads them."""

import json
import time
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

_WAIT_SECS = 60


class Event(NamedTuple):
    """One record of one partition, decoded; a tombstone's value is None."""

    partition: int
    offset: int
    key: Any
    value: Any

    @property
    def op(self) -> str | None:
        """Debezium's letter: r, c, u, d, t; None for a tombstone. With a schema inside, the payload's."""
        if self.value is None:
            return None
        return str(self.value.get("payload", self.value)["op"])


def events(bootstrap_servers: str, topic: str, count: int, partitions: int = 1) -> list[Event]:
    """The first `count` events of a topic, waiting for them.

    Raises: AssertionError when they do not come.
    """
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "events", "log_level": 2})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[Event] = []
    deadline = time.monotonic() + _WAIT_SECS
    try:
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            # Until the topic is there, the assignment is answered with errors.
            if message is not None and message.error() is None:
                found.append(
                    Event(message.partition() or 0, message.offset() or 0, _json(message.key()), _json(message.value()))
                )
    finally:
        consumer.close()
    assert len(found) == count, f"{topic}: {len(found)} events, not {count}: {found}"
    return found


def _json(text: bytes | str | None) -> Any:
    return None if text is None else json.loads(text)
