"""Reaching Kafka from the bench, and setting up topics. Knows nothing of messages."""

import os
import time
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AdminClient,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from bench.problem import Problem

CONNECT_SECS = 10.0
DEFAULT_PARTITIONS = 3
Properties = dict[str, str | int | float | bool]


class TopicView(NamedTuple):
    """A topic as it is: start and end offset per partition (end: the next one to be written), and its retention."""

    name: str
    spans: list[tuple[int, int]]
    replicas: int
    retention_ms: str


def bootstrap_from_environment() -> str:
    """KAFKA_BOOTSTRAP_SERVERS, or localhost:9092."""
    return os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "localhost:9092"


def client_properties(bootstrap_servers: str, settings: list[str]) -> Properties:
    """Connection properties, with `settings` given as "property=value" on top.

    Raises: Problem for a setting without "=".
    """
    # The bench reports failures itself, in one line; librdkafka's own log would repeat them for every retry.
    properties: Properties = {"bootstrap.servers": bootstrap_servers, "log_level": 2}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise Problem(f"-X {setting}: give it as property=value, for instance security.protocol=SSL")
        properties[name] = value
    return properties


def connect(properties: Properties) -> AdminClient:
    """A client that has reached the broker.

    Raises: Problem when the broker cannot be reached or a property is unknown.
    """
    try:
        admin = AdminClient(dict(properties))
        admin.list_topics(timeout=CONNECT_SECS)
    except KafkaException as error:
        raise Problem(
            f"{properties['bootstrap.servers']}: {_reason(error)}; is Kafka running there? "
            "(set KAFKA_BOOTSTRAP_SERVERS or --bootstrap-server)"
        ) from None
    return admin


def partition_count(admin: AdminClient, topic: str) -> int:
    """Partitions of the topic, 0 when there is none of that name."""
    return len(admin.list_topics(timeout=CONNECT_SECS).topics[topic].partitions) if _exists(admin, topic) else 0


def create_topic(admin: AdminClient, topic: str, partitions: int, retention_ms: int | None = None) -> None:
    """Create the topic and wait until it can be used; the broker's default replication.

    Raises: Problem when the broker refuses.
    """
    config = {} if retention_ms is None else {"retention.ms": str(retention_ms)}
    made = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=config)
    try:
        admin.create_topics([made], operation_timeout=CONNECT_SECS)[topic].result()
    except KafkaException as error:
        raise Problem(f"topic {topic}: cannot create it: {_reason(error)}") from None
    deadline = time.monotonic() + CONNECT_SECS
    while partition_count(admin, topic) != partitions:
        if time.monotonic() > deadline:
            raise Problem(f"topic {topic}: created, but not visible after {CONNECT_SECS:.0f} s; try again")
        time.sleep(0.05)


def grow_topic(admin: AdminClient, topic: str, partitions: int) -> None:
    """Add partitions up to this number.

    Raises: Problem when the broker refuses.
    """
    try:
        admin.create_partitions([NewPartitions(topic, partitions)], operation_timeout=CONNECT_SECS)[topic].result()
    except KafkaException as error:
        raise Problem(f"topic {topic}: cannot grow to {partitions} partitions: {_reason(error)}") from None


def set_retention(admin: AdminClient, topic: str, retention_ms: int) -> None:
    """Change how long the broker keeps records.

    Raises: Problem when the broker refuses.
    """
    resource = ConfigResource(
        ResourceType.TOPIC, topic, incremental_configs=[ConfigEntry("retention.ms", str(retention_ms))]
    )
    try:
        admin.incremental_alter_configs([resource])[resource].result()
    except KafkaException as error:
        raise Problem(f"topic {topic}: cannot set retention.ms: {_reason(error)}") from None


def describe_topic(admin: AdminClient, properties: Properties, topic: str) -> TopicView:
    """The topic's partitions, offsets and retention.

    Raises: Problem when there is no such topic.
    """
    if not _exists(admin, topic):
        raise Problem(f"topic {topic}: not found; create it with: python -m bench topic --topic {topic} --create")
    partitions = admin.list_topics(timeout=CONNECT_SECS).topics[topic].partitions
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = admin.describe_configs([resource])[resource].result()
    return TopicView(
        topic, spans(properties, topic), len(partitions[0].replicas), str(config["retention.ms"].value or "")
    )


def spans(properties: Properties, topic: str) -> list[tuple[int, int]]:
    """Start and end offset of each partition, in order; the end is the next offset to be written."""
    reader = Consumer({**properties, "group.id": "bench-spans", "enable.auto.commit": False})
    try:
        count = len(reader.list_topics(topic, timeout=CONNECT_SECS).topics[topic].partitions)
        return [_span(reader, TopicPartition(topic, partition)) for partition in range(count)]
    finally:
        reader.close()


def _span(reader: Consumer, partition: TopicPartition) -> tuple[int, int]:
    deadline = time.monotonic() + CONNECT_SECS
    while True:
        try:
            return reader.get_watermark_offsets(partition, timeout=CONNECT_SECS)
        except KafkaException as error:
            # A new topic is listed before its leaders know that they are.
            cause: KafkaError = error.args[0]
            if not cause.retriable() and cause.code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                raise Problem(f"{partition.topic}-{partition.partition}: {_reason(error)}") from None
            if time.monotonic() > deadline:
                raise Problem(f"{partition.topic}-{partition.partition}: {_reason(error)}; try again") from None
        time.sleep(0.1)


def _exists(admin: AdminClient, topic: str) -> bool:
    # Asking for one topic by name would make a broker with auto.create.topics.enable create it.
    return topic in admin.list_topics(timeout=CONNECT_SECS).topics


def _reason(error: KafkaException) -> str:
    cause: KafkaError = error.args[0]
    return str(cause.str())
