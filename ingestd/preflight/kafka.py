"""What of Kafka a start would meet: broker, login, topics, group. Joins no group, reads no record, commits nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AclOperation, AdminClient, ConsumerGroupDescription  # type: ignore[attr-defined]  # exported at run time

from ingestd.config.options import Config, Pipeline
from ingestd.config.topics import has_many_topics
from ingestd.membership.broker import find_partitions
from ingestd.preflight.findings import Finding, State
from ingestd.preflight.topics import by_topic, examine_topics

TIMEOUT_SECS = 5.0
COORDINATOR_SECS = 15.0
_FINAL = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}
_NO_COORDINATOR_YET = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}


def examine_kafka(config: Config) -> Iterator[Finding]:
    """Findings about the broker, its topics and the group."""
    if config.kafka.bootstrap_servers == "embedded":
        yield Finding(State.OK, "broker", "embedded: `ingestd run` starts it and makes the topics")
        return
    errors: list[KafkaError] = []
    properties = _properties(config) | {"error_cb": errors.append}
    try:
        # A consumer knows every property that ingestd passes on; the admin client would ignore half of them.
        consumer = Consumer(properties, logger=_silent())
    except (KafkaException, TypeError, ValueError) as error:
        yield Finding(
            State.FAIL, "configuration", f"kafka.properties: {_reason(error)}", "mend or remove it", configuration=True
        )
        return
    try:
        brokers = _reach(consumer, errors)
        if isinstance(brokers, Finding):
            if brokers.subject == "broker login":
                yield Finding(State.OK, "broker", f"{config.kafka.bootstrap_servers} answers")
            yield brokers
            return
        yield Finding(State.OK, "broker", f"{config.kafka.bootstrap_servers} answers, {_count(brokers, 'broker')}")
        yield Finding(State.OK, "broker login", _login(config))
    finally:
        consumer.close()
    admin = AdminClient(_properties(config), logger=_silent())
    for pipeline in config.pipeline:
        if not has_many_topics(pipeline):
            yield _examine_topic(admin, pipeline, config)
    if any(map(has_many_topics, config.pipeline)):
        yield from examine_topics(config, find_topics(config) or {})
    yield _examine_group(admin, config)


def find_topics(config: Config) -> dict[str, list[int]] | None:
    """The topics that the pipelines read, with their partitions; None when no broker can be asked."""
    if config.kafka.bootstrap_servers == "embedded":
        return None
    try:
        consumer = Consumer(_properties(config), logger=_silent())
    except (KafkaException, TypeError, ValueError):
        return None
    try:
        return find_partitions(consumer, config.pipeline, TIMEOUT_SECS)
    except KafkaException:
        return None
    finally:
        consumer.close()


def _properties(config: Config) -> dict[str, Any]:
    return {
        **config.kafka.properties,
        "bootstrap.servers": config.kafka.bootstrap_servers,
        "group.id": config.kafka.group_id,
        "client.id": "ingestd-check",
    }


def _silent() -> logging.Logger:
    """librdkafka repeats on standard error what its error callback says."""
    logger = logging.Logger("ingestd.check")
    logger.addHandler(logging.NullHandler())
    return logger


def _reach(consumer: Consumer, errors: list[KafkaError]) -> int | Finding:
    """The number of brokers, or why there is no answer; a refused connection need not be waited for."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while True:
        try:
            return len(consumer.list_topics(timeout=0.5).brokers)
        except KafkaException as error:
            consumer.poll(0)
            if time.monotonic() > deadline or _FINAL & {known.code() for known in errors}:
                return _unreachable([*errors, error.args[0]])


def _unreachable(errors: list[KafkaError]) -> Finding:
    by_code = {error.code(): error.str() for error in reversed(errors)}
    for code in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        if code in by_code:
            mend = 'mend "sasl.mechanism", "sasl.username", "sasl.password" in kafka.properties'
            return Finding(State.FAIL, "broker login", f"authentication failed: {by_code[code]}", mend)
    if KafkaError._SSL in by_code:
        mend = 'mend "security.protocol" and "ssl.ca.location" in kafka.properties'
        return Finding(State.FAIL, "broker login", f"TLS failed: {by_code[KafkaError._SSL]}", mend)
    if KafkaError._RESOLVE in by_code:
        mend = "mend kafka.bootstrap_servers"
        return Finding(State.FAIL, "broker", f"host not found: {by_code[KafkaError._RESOLVE]}", mend)
    said = next((error.str() for error in errors if error.code() == KafkaError._TRANSPORT), errors[-1].str())
    if "refused" in said.lower():
        mend = "start Kafka there, or mend kafka.bootstrap_servers"
        return Finding(State.FAIL, "broker", f"connection refused: {said}", mend)
    mend = 'mend kafka.bootstrap_servers or "security.protocol" in kafka.properties; is there a firewall?'
    return Finding(State.FAIL, "broker", f"no answer within {TIMEOUT_SECS:g} s: {said}", mend)


def _login(config: Config) -> str:
    protocol = str(config.kafka.properties.get("security.protocol", "plaintext")).lower()
    user = config.kafka.properties.get("sasl.username")
    return f"{protocol}, as {user}" if user and "sasl" in protocol else f"{protocol}, no user"


def _examine_topic(admin: AdminClient, pipeline: Pipeline, config: Config) -> Finding:
    subject = f"topic {pipeline.topic}"
    request = admin.describe_topics(
        TopicCollection([pipeline.topic]), include_authorized_operations=True, request_timeout=TIMEOUT_SECS
    )
    try:
        described = request[pipeline.topic].result(TIMEOUT_SECS * 2)
    except KafkaException as error:
        return _topic_error(error.args[0], pipeline.topic, subject, config)
    operations = described.authorized_operations
    if operations is not None and AclOperation.READ not in operations:
        return Finding(State.FAIL, subject, "no privilege to read it", _acl("--topic", pipeline.topic, config))
    return Finding(State.OK, subject, _count(len(described.partitions), "partition"))


def _topic_error(error: KafkaError, topic: str, subject: str, config: Config) -> Finding:
    servers = config.kafka.bootstrap_servers
    if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        create = f"kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 3"
        return Finding(State.FAIL, subject, "topic not found", f"mend pipeline.topic, or create it: {create}")
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return Finding(State.FAIL, subject, "no privilege to read it", _acl("--topic", topic, config))
    return Finding(State.FAIL, subject, _said(KafkaException(error)), "mend that and check again")


def _acl(kind: str, name: str, config: Config) -> str:
    user = config.kafka.properties.get("sasl.username", "NAME")
    allow = f"--allow-principal User:{user} --operation Read --operation Describe {kind} {name}"
    return f"grant it: kafka-acls.sh --bootstrap-server {config.kafka.bootstrap_servers} --add {allow}"


def _examine_group(admin: AdminClient, config: Config) -> Finding:
    group = config.kafka.group_id
    subject = f"group {group}"
    try:
        described = _describe_group(admin, group)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return Finding(State.FAIL, subject, "no privilege to join it", _acl("--group", group, config))
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return _first_start(admin, config, subject, "new")
        return Finding(State.FAIL, subject, _said(error), "mend that and check again")
    operations = described.authorized_operations
    if operations is not None and AclOperation.READ not in operations:
        return Finding(State.FAIL, subject, "no privilege to join it", _acl("--group", group, config))
    members = len(described.members)
    return _first_start(admin, config, subject, _count(members, "member") if members else "no members now")


def _describe_group(admin: AdminClient, group: str) -> ConsumerGroupDescription:
    """The group; the first group of a cluster waits until the broker has made its topic of offsets."""
    deadline = time.monotonic() + COORDINATOR_SECS
    while True:
        request = admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=COORDINATOR_SECS
        )
        try:
            described: ConsumerGroupDescription = request[group].result(COORDINATOR_SECS * 2)
            return described
        except KafkaException as error:
            if error.args[0].code() not in _NO_COORDINATOR_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _first_start(admin: AdminClient, config: Config, subject: str, state: str) -> Finding:
    """Taking over from another consumer makes sense only where that one has committed offsets."""
    concrete = by_topic(config, find_topics(config) or {}) if any(map(has_many_topics, config.pipeline)) else config
    taking_over = {pipeline.topic for pipeline in concrete.pipeline if pipeline.start == "committed"}
    if not taking_over:
        return Finding(State.OK, subject, state)
    group = config.kafka.group_id
    request = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_SECS)[
        group
    ]
    try:
        offsets: list[TopicPartition] = request.result(TIMEOUT_SECS * 2).topic_partitions or []
    except KafkaException as error:
        return Finding(State.FAIL, subject, _said(error), "mend that and check again")
    without = sorted(taking_over - {place.topic for place in offsets if place.offset >= 0})
    if not without:
        return Finding(State.OK, subject, f"{state}, with offsets to start from")
    mend = 'mend kafka.group_id, or write start = "earliest"'
    return Finding(State.WARN, subject, f"has committed no offsets of {', '.join(without)}", mend)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _said(error: KafkaException) -> str:
    known: KafkaError = error.args[0]
    return f"{known.name()}: {known.str()}"


def _reason(error: Exception) -> str:
    known = error.args[0] if error.args else error
    return str(known.str() if isinstance(known, KafkaError) else known)
