"""What stands in for the consumer group when the store has one daemon: all partitions are this host's. Reads nothing.

It finds the topics' partitions, new ones too, mirrors the board's cursors to the group so that Kafka tools show lag,
and writes the log ends to the board. The messages are those of a member: see `supervisor.group_view`. No database here.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from confluent_kafka import Consumer, KafkaException

from ingestd.board import Board, Slot
from ingestd.channel import Channel
from ingestd.config.options import Config
from ingestd.config.topics import named_topics
from ingestd.errors import ConfigError, ExitCode
from ingestd.logs import get_logger
from ingestd.membership.broker import BrokerQuestions, find_partitions, missing_topics
from ingestd.membership.mirror import Mirror
from ingestd.membership.troubles import Troubles
from ingestd.planning import TopicPartition
from ingestd.signals import Stop
from ingestd.source.kafka import client_settings

log = get_logger()

POLL_SECS = 0.25
TICK_SECS = 1.0
METADATA_SECS = 2.0
NEW_PARTITIONS_SECS = 5.0
"""How often the broker is asked which partitions there are."""
GONE_LOOKS = 3
"""A topic of a pattern that the broker did not know so often in a row is no longer waited for."""
QUIET_SECS = 10.0
QUIET_SAMPLE_SECS = 3.0

_QUIET: dict[str, Any] = {"log_level": 2, "reconnect.backoff.max.ms": 2_000}


class SoleMembership:
    """One life; `run` returns when it is told to stop."""

    def __init__(self, config: Config, board: Board, channel: Channel, stop: Stop) -> None:
        self._board = board
        self._channel = channel
        self._stop = stop
        self._pipelines = config.pipeline
        self._away: Counter[str] = Counter()
        """Topics of a pattern that the broker did not know, so many times in a row."""
        self._assigned: frozenset[TopicPartition] | None = None
        self._mirror = Mirror(board)
        self._troubles = Troubles(channel, config.kafka.bootstrap_servers)
        self._wants_targets = False
        self._seq = 0
        self._look_at = self._sample_at = 0.0
        settings = _QUIET | client_settings(config.kafka)
        own = {"group.id": config.kafka.group_id, "enable.auto.commit": False, "allow.auto.create.topics": False}
        try:
            callbacks = {"error_cb": self._troubles.note_error, "on_commit": self._mirror.on_commit}
            self._consumer = Consumer(settings | own | callbacks, logger=logging.getLogger("librdkafka"))
            self._questions = BrokerQuestions(settings, config.kafka.group_id)
        except KafkaException as error:
            raise ConfigError([f"kafka.properties: {error.args[0].str()}"]) from error

    def run(self) -> int:
        """Until SIGTERM, or until the supervisor is gone."""
        while not self._stop.requested() and not self._channel.closed:
            self._board.beat(Slot.MEMBERSHIP)
            self._consumer.poll(POLL_SECS)
            self._take_orders()
            self._note_log_ends()
            now = time.monotonic()
            if now >= self._look_at:
                self._look_at = now + NEW_PARTITIONS_SECS
                self._look_for_partitions()
            if now >= self._sample_at:
                quiet = now - self._mirror.moved_at > QUIET_SECS
                self._sample_at = now + (QUIET_SAMPLE_SECS if quiet else TICK_SECS)
                self._mirror.commit(self._consumer, self._assigned or frozenset())
                self._questions.ask_log_ends(self._assigned or frozenset())
        self._mirror.commit(self._consumer, self._assigned or frozenset())
        self._consumer.poll(POLL_SECS)
        self._consumer.close()
        return ExitCode.OK

    def _take_orders(self) -> None:
        for order in self._channel.take():
            if order["op"] == "confirm" and self._assigned is not None:
                # Nobody else can have them: the lock of the file says so.
                self._channel.send(
                    {"event": "confirmed", "id": order["id"], "partitions": sorted(self._assigned)},
                )
            elif order["op"] == "targets":
                self._wants_targets = True

    def _look_for_partitions(self) -> None:
        """Tell what there is: at first, and when topics or partitions have come."""
        try:
            found = find_partitions(self._consumer, self._pipelines, METADATA_SECS)
        except KafkaException as error:
            self._look_at = time.monotonic() + TICK_SECS
            self._troubles.note_error(error.args[0])
            return
        self._channel.send({"event": "up"})
        self._troubles.note_topics(missing_topics(self._pipelines, found), found)
        if self._troubles.missing:
            self._look_at = time.monotonic() + TICK_SECS
        # A topic that is away for a moment is not taken from its worker, which says itself what is wrong.
        gone = self._topics_gone(found)
        before = frozenset(one for one in self._assigned or () if one[0] not in gone)
        assigned = frozenset((topic, p) for topic, numbers in found.items() for p in numbers) | before
        if assigned != self._assigned:
            self._assigned = assigned
            self._seq += 1
            self._channel.send({"event": "assigned", "seq": self._seq, "partitions": sorted(assigned)})
            self._sample_at = 0.0

    def _topics_gone(self, found: Collection[str]) -> set[str]:
        """Topics of a pattern that were deleted: of a pattern nobody expects that all it ever matched stay."""
        expected = {topic for pipeline in self._pipelines for topic in named_topics(pipeline)} | set(found)
        away = {topic for topic, _ in self._assigned or ()} - expected
        self._away = Counter({topic: self._away[topic] + 1 for topic in away})
        gone = {topic for topic, looks in self._away.items() if looks >= GONE_LOOKS}
        for topic in sorted(gone):
            log.warning("topic is gone; what was read of it stays", topic=topic)
        return gone

    def _note_log_ends(self) -> None:
        ends = self._questions.log_ends()
        if ends is None or self._assigned is None:
            return
        if ends and not self._troubles.missing:
            self._troubles.tell("")
        self._mirror.note_log_ends(ends, self._assigned)
        if self._wants_targets and not self._troubles.missing and self._assigned <= ends.keys():
            self._wants_targets = False
            targets = [[topic, p, ends[topic, p]] for topic, p in sorted(self._assigned)]
            self._channel.send({"event": "log_ends", "partitions": targets})


def run_sole_membership(config: Config, board: Board, channel: Channel, stop: Stop) -> int:
    """The body of the membership process of a daemon that shares with nobody; returns its exit code."""
    return SoleMembership(config, board, channel, stop).run()
