"""Questions of the membership to the broker, never waiting for an answer. Knows no board and no supervisor."""

import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import ConsumerGroupState, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from msgspec import structs

from ingestd import planning
from ingestd.config.pipeline import Pipeline
from ingestd.config.topics import named_topics, patterns, pipelines_of, reads_topic

ANSWER_SECS = 10.0
STALE_LEADER = frozenset(
    {KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION}
)
"""After a broker restart the client goes on asking with the leader epoch it has cached, for minutes: start it anew."""


class BrokerQuestions:
    """At most one question of each kind is under way; its answer is fetched by asking again."""

    def __init__(self, settings: dict[str, Any], group_id: str) -> None:
        self._settings = settings
        self._admin = AdminClient(settings)
        self._group_id = group_id
        self._log_ends: dict[TopicPartition, Future[Any]] = {}
        self._group: Future[Any] | None = None

    def ask_log_ends(self, partitions: Collection[planning.TopicPartition]) -> bool:
        """Ask for the last stable offsets; False while an earlier question is under way."""
        if self._log_ends or not partitions:
            return False
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        question = {TopicPartition(topic, partition): latest for topic, partition in partitions}
        self._log_ends = self._admin.list_offsets(
            question, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=ANSWER_SECS
        )
        return True

    def log_ends(self) -> dict[planning.TopicPartition, int] | None:
        """The answer, or None while it is not there; partitions without one are left out. Each answer is given once."""
        if not self._log_ends or not all(future.done() for future in self._log_ends.values()):
            return None
        answers, self._log_ends = self._log_ends, {}
        errors = [error for future in answers.values() if isinstance(error := future.exception(), KafkaException)]
        if any(error.args[0].code() in STALE_LEADER for error in errors):
            self._admin = AdminClient(self._settings)
        return {
            (one.topic, one.partition): future.result().offset
            for one, future in answers.items()
            # Without a leader there is an answer, but no offset in it.
            if future.exception() is None and future.result().offset >= 0
        }

    def ask_group(self) -> None:
        """Ask the coordinator who has what."""
        self._group = self._admin.describe_consumer_groups([self._group_id], request_timeout=ANSWER_SECS)[
            self._group_id
        ]

    def group_assignment(self, member_id: str) -> tuple[frozenset[planning.TopicPartition] | None, str] | None:
        """What the group says this member has, or (None, why it does not say); None while there is no answer."""
        if self._group is None or not self._group.done():
            return None
        group, self._group = self._group, None
        error = group.exception()
        if isinstance(error, KafkaException):
            return None, error.args[0].str()
        description = group.result()
        if description.state != ConsumerGroupState.STABLE:
            return None, f"the group is {description.state.name.lower()}"
        for member in description.members:
            if member.member_id == member_id:
                assigned = member.assignment.topic_partitions if member.assignment else []
                return frozenset((one.topic, one.partition) for one in assigned), ""
        return None, "this host is not a member of the group any more"


def find_partitions(consumer: Any, pipelines: Sequence[Pipeline], timeout_secs: float) -> dict[str, list[int]]:
    """The partitions of the pipelines' topics that the broker knows; topics it does not know are left out.

    Raises: KafkaException while no broker answers.
    """
    deadline = time.monotonic() + timeout_secs
    # By name where that is all: a cluster may have thousands of other topics.
    all_topics = any(patterns(one) for one in pipelines)
    names = sorted({topic for one in pipelines for topic in named_topics(one)})
    wanted: list[str | None] = [None] if all_topics else [*names]
    found: dict[str, list[int]] = {}
    for name in wanted:
        left_secs = max(0.1, deadline - time.monotonic())
        asked = consumer.list_topics(timeout=left_secs) if name is None else consumer.list_topics(name, left_secs)
        for topic, metadata in asked.topics.items():
            if metadata.error is None and metadata.partitions and pipelines_of(pipelines, topic):
                found[topic] = sorted(metadata.partitions)
    return found


def missing_topics(pipelines: Sequence[Pipeline], found: Collection[str]) -> frozenset[str]:
    """Names that are not among the found topics, and patterns that none of these matches."""
    missing = {topic for one in pipelines for topic in named_topics(one) if topic not in found}
    for pipeline in pipelines:
        for pattern in patterns(pipeline):
            alone = structs.replace(pipeline, topic=pattern)
            if not any(reads_topic(alone, topic) for topic in found):
                missing.add(pattern)
    return frozenset(missing)
