"""Questions of the membership to the broker, never waiting for an answer. Knows no board and no supervisor."""

import time
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

from confluent_kafka import ConsumerGroupState, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from ingestd import planning

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


def find_partitions(consumer: Any, topics: Collection[str], timeout_secs: float) -> dict[str, list[int]]:
    """The partitions of these topics that the broker knows; topics it does not know are left out.

    Raises: KafkaException while no broker answers.
    """
    deadline = time.monotonic() + timeout_secs
    found: dict[str, list[int]] = {}
    for topic in sorted(set(topics)):
        metadata = consumer.list_topics(topic, timeout=max(0.1, deadline - time.monotonic())).topics.get(topic)
        if metadata is not None and metadata.error is None and metadata.partitions:
            found[topic] = sorted(metadata.partitions)
    return found
