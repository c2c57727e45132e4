"""The host's member of the Kafka consumer group: learns what is assigned here, reads nothing. Knows no database.

All its partitions are paused. It tells the supervisor (messages: see `group_view`), mirrors the board's cursors to
the group, and writes the log ends to the board.
"""

import logging
import socket
import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from ingestd.board import Board, Slot
from ingestd.channel import Channel
from ingestd.config.options import Config
from ingestd.config.topics import subscriptions
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
QUIET_SECS = 10.0
QUIET_SAMPLE_SECS = 3.0
"""Log ends are asked for every TICK_SECS, but only so often once nothing has moved for QUIET_SECS: it costs 1 ms."""
METADATA_SECS = 2.0
MISSING_TOPIC_SECS = 5.0
DRAIN_MARGIN_SECS = 3.0
"""The supervisor kills a worker at drain_timeout; it needs a moment more to see it gone and to answer."""
LEAVE_SECS = 3.0
LATE_COMMIT_SECS = 30.0
"""After an outage longer than the session the client joins anew, then sends an old commit again: it fences itself."""
FENCED = frozenset({KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID})

_QUIET: dict[str, Any] = {"log_level": 2, "reconnect.backoff.max.ms": 2_000}
# These guard what the group is used for; a user's property of the same name loses.
_OWN_SETTINGS: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "enable.partition.eof": False,
}


def instance_id(config: Config) -> str:
    """The static member's name: the configured one, or host name and group."""
    return config.kafka.group_instance_id or f"{socket.gethostname()}-{config.kafka.group_id}"


def consumer_settings(config: Config) -> dict[str, Any]:
    """librdkafka settings of the membership's consumer.

    A short heartbeat, because members learn of a rebalance by it: a clean stop moved partitions in 1.0 s with 1 s,
    and in up to 3 s with the default.
    """
    settings: dict[str, Any] = {"topic.metadata.refresh.interval.ms": 5_000, **_QUIET}
    if config.kafka.group_protocol == "classic":
        settings |= {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000}
    settings |= client_settings(config.kafka) | _OWN_SETTINGS | {"group.id": config.kafka.group_id}
    if config.kafka.group_protocol == "consumer":
        # No instance id: a killed static member of this protocol is refused until its session has timed out.
        return settings | {"group.protocol": "consumer"}
    strategy = {"partition.assignment.strategy": "cooperative-sticky"}
    return settings | strategy | {"group.instance.id": instance_id(config)}


class Membership:
    """One life as a member; `run` returns when it is told to stop."""

    def __init__(self, config: Config, board: Board, channel: Channel, stop: Stop) -> None:
        self._config = config
        self._board = board
        self._channel = channel
        self._stop = stop
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._seq = 0
        self._drained_seq = 0
        self._confirm_id: int | None = None
        self._stay = False
        self._leaving = False
        self._metadata_at = 0.0
        self._known = False
        self._left: set[str] = set()
        """Topics that were taken away as a whole, until it is known whether they are gone."""
        self._tick_at = 0.0
        self._sampled_at = 0.0
        self._mirror = Mirror(board)
        self._troubles = Troubles(channel, config.kafka.bootstrap_servers)
        self._wants_targets = False
        self._all_partitions: frozenset[TopicPartition] | None = None
        self._targets_sent = False
        try:
            callbacks = {"error_cb": self._troubles.note_error, "on_commit": self._mirror.on_commit}
            # Its own lines on standard error would break "one event, one line".
            logger = logging.getLogger("librdkafka")
            self._consumer = Consumer(consumer_settings(config) | callbacks, logger=logger)
            settings = _QUIET | client_settings(config.kafka)
            self._questions = BrokerQuestions(settings, config.kafka.group_id)
        except KafkaException as error:
            raise ConfigError([f"kafka.properties: {error.args[0].str()}"]) from error

    def run(self) -> int:
        """Until SIGTERM, or until the supervisor is gone."""
        wanted = {one for pipeline in self._config.pipeline for one in subscriptions(pipeline)}
        self._consumer.subscribe(
            sorted(wanted), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        code = ExitCode.OK
        while not self._stop.requested() and not self._channel.closed and code == ExitCode.OK:
            self._board.beat(Slot.MEMBERSHIP)
            code = self._poll()
            self._take_orders()
            self._answer_confirmation()
            self._note_log_ends()
            if time.monotonic() >= self._tick_at:
                self._tick_at = time.monotonic() + TICK_SECS
                self._tick()
        if code == ExitCode.OK:
            self._leave()
        self._consumer.close()
        return code

    # --- the loop's verbs

    def _poll(self) -> ExitCode:
        """Serve the client: callbacks run in here."""
        record = self._consumer.poll(POLL_SECS)
        error = record.error() if record is not None else None
        if error is None or error.code() == KafkaError._AUTO_OFFSET_RESET:
            return ExitCode.OK
        cause = self._consumer_fatal_code(error)
        if cause in FENCED and self._troubles.at and time.monotonic() - self._troubles.at < LATE_COMMIT_SECS:
            log.warning("membership starts again", why="fenced, as by its own commit that a restarted broker got late")
            return ExitCode.CRASH
        if cause in FENCED:
            name = instance_id(self._config)
            log.error(
                "another daemon took this member's place",
                group_instance_id=name,
                next="two daemons on one host: give each its own kafka.group_instance_id; else start this one again",
            )
            return ExitCode.HALTED
        if error.fatal() or error.code() == KafkaError._FATAL:
            log.error("group membership failed", error=error.str())
            return ExitCode.CRASH
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._known = self._known and bool(self._troubles.missing)
        else:
            self._troubles.note_error(error)
        return ExitCode.OK

    def _consumer_fatal_code(self, error: KafkaError) -> int:
        if error.code() != KafkaError._FATAL:
            return error.code()
        return KafkaError.FENCED_INSTANCE_ID if "fenced" in error.str().lower() else error.code()

    def _take_orders(self) -> None:
        for order in self._channel.take():
            if order["op"] == "drained":
                self._drained_seq = order["seq"]
            elif order["op"] == "confirm":
                self._confirm_id = order["id"]
                self._questions.ask_group()
            elif order["op"] == "targets":
                self._wants_targets = True
            elif order["op"] == "stay":
                self._stay = True

    def _answer_confirmation(self) -> None:
        """Confirmed only when the coordinator's answer and ours are the same: a zombie's are not."""
        if self._confirm_id is None:
            return
        answer = self._questions.group_assignment(self._consumer.memberid() or "")
        if answer is None:
            return
        question, self._confirm_id = self._confirm_id, None
        assigned, why = answer
        if assigned == self._assigned:
            self._channel.send({"event": "confirmed", "id": question, "partitions": sorted(self._assigned)})
        else:
            why = why or "the group is about to move partitions"
            self._channel.send({"event": "unconfirmed", "id": question, "why": why})

    def _tick(self) -> None:
        """Once a second: topics, offsets, log ends."""
        unsure = not self._known or bool(self._troubles.missing) or (bool(self._troubles.text) and not self._assigned)
        if unsure or (self._wants_targets and self._all_partitions is None):
            self._look_for_topics()
        if self._left:
            self._say_gone()
        self._mirror.commit(self._consumer, self._assigned)
        partitions = self._assigned
        if self._wants_targets and self._all_partitions is not None:
            if not self._targets_sent:
                partitions |= self._all_partitions
            self._send_committed()
        now = time.monotonic()
        quiet = now - self._mirror.moved_at > QUIET_SECS and partitions == self._assigned
        if now - self._sampled_at >= (QUIET_SAMPLE_SECS if quiet else 0.0):
            self._sampled_at = now if self._questions.ask_log_ends(partitions) else self._sampled_at

    def _note_log_ends(self) -> None:
        ends = self._questions.log_ends()
        if ends is None:
            return
        # An answer that was under way when the connection broke is not the end of the trouble.
        if ends and not self._troubles.missing and self._sampled_at > self._troubles.at:
            self._troubles.tell("")
        self._mirror.note_log_ends(ends, self._assigned)
        wanted = self._all_partitions
        if self._wants_targets and not self._targets_sent and wanted is not None and wanted <= ends.keys():
            self._targets_sent = True
            self._channel.send({"event": "log_ends", "partitions": _triples((one, ends[one]) for one in wanted)})

    def _send_committed(self) -> None:
        """How far other hosts are."""
        elsewhere = sorted((self._all_partitions or frozenset()) - self._assigned)
        if not elsewhere:
            return
        try:
            found = self._consumer.committed([Position(t, p) for t, p in elsewhere], timeout=5)
        except KafkaException as error:
            self._troubles.note_error(error.args[0])
            return
        offsets = [[one.topic, one.partition, one.offset] for one in found if one.offset >= 0]
        self._channel.send({"event": "committed", "partitions": offsets})

    def _look_for_topics(self) -> None:
        """Say once which topics are missing; "up" as soon as a broker answers."""
        now = time.monotonic()
        if now < self._metadata_at:
            return
        self._metadata_at = now + MISSING_TOPIC_SECS
        try:
            found = find_partitions(self._consumer, self._config.pipeline, METADATA_SECS)
        except KafkaException as error:
            self._metadata_at = now + TICK_SECS
            self._troubles.note_error(error.args[0])
            return
        self._known = True
        self._channel.send({"event": "up"})
        self._troubles.note_topics(missing_topics(self._config.pipeline, found), found)
        if not self._troubles.missing:
            self._all_partitions = frozenset((topic, p) for topic, numbers in found.items() for p in numbers)

    def _say_gone(self) -> None:
        """A topic of a pattern that was deleted is not missing: nothing else would say what became of it."""
        left, self._left = self._left, set()
        try:
            found = find_partitions(self._consumer, self._config.pipeline, METADATA_SECS)
        except KafkaException:
            return
        for topic in sorted(left - found.keys()):
            log.warning("topic is gone; what was read of it stays", topic=topic)

    # --- callbacks of the client; they run inside poll

    def _on_assign(self, consumer: Consumer, partitions: list[Position]) -> None:
        # From the end, not from the group's offsets: nothing is read here, and a missing offset is no error here.
        positions = [Position(one.topic, one.partition, OFFSET_END) for one in partitions]
        consumer.incremental_assign(positions)
        consumer.pause(positions)
        self._set_assigned(self._assigned | _set(partitions))

    def _on_revoke(self, consumer: Consumer, partitions: list[Position]) -> None:
        if not self._leaving and partitions:
            self._await_drained(_set(partitions))
        self._mirror.commit(self._consumer, self._assigned)
        consumer.incremental_unassign(partitions)
        self._set_assigned(self._assigned - _set(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[Position]) -> None:
        lost = _set(partitions)
        self._channel.send({"event": "lost", "partitions": sorted(lost)})
        consumer.incremental_unassign(partitions)
        self._set_assigned(self._assigned - lost)

    # --- what is told

    def _set_assigned(self, assigned: frozenset[TopicPartition]) -> None:
        gone = {topic for topic, _ in self._assigned} - {topic for topic, _ in assigned}
        self._left |= gone if not self._leaving else set()
        self._assigned = assigned
        self._mirror.keep(assigned)
        self._seq += 1
        self._tick_at = 0.0
        self._channel.send({"event": "assigned", "seq": self._seq, "partitions": sorted(assigned)})

    def _await_drained(self, partitions: frozenset[TopicPartition]) -> None:
        """Give the workers time to commit their batch; the group waits for this, so it is bounded."""
        self._seq += 1
        self._channel.send({"event": "revoking", "seq": self._seq, "partitions": sorted(partitions)})
        deadline = time.monotonic() + self._config.workers.drain_timeout + DRAIN_MARGIN_SECS
        while self._drained_seq < self._seq and not self._channel.closed:
            if time.monotonic() > deadline:
                log.warning("workers did not drain in time", partitions=sorted(partitions))
                return
            self._board.beat(Slot.MEMBERSHIP)
            time.sleep(0.01)
            self._take_orders()

    def _leave(self) -> None:
        """The last mirror, then out of the group; `stay` keeps a static member's place for its next start.

        librdkafka does not send a static member's leave on close, so that a restart is no rebalance; unsubscribing
        sends it. With it another host had the partitions after 1.0 s, without it after the session timeout.
        """
        self._take_orders()
        self._mirror.commit(self._consumer, self._assigned)
        self._leaving = True
        if not self._stay and not self._channel.closed:
            self._consumer.unsubscribe()
            deadline = time.monotonic() + LEAVE_SECS
            while self._assigned and time.monotonic() < deadline:
                self._consumer.poll(0.02)
            # The leave follows the last revoke; a few more turns let it go out before the connection closes.
            settled = time.monotonic() + 0.2
            while time.monotonic() < settled:
                self._consumer.poll(0.02)


def run_membership(config: Config, board: Board, channel: Channel, stop: Stop) -> int:
    """The body of the membership process; returns its exit code.

    HALTED when another daemon uses the same instance id: only a person can tell which one is right.
    """
    return Membership(config, board, channel, stop).run()


def _set(partitions: Iterable[Position]) -> frozenset[TopicPartition]:
    return frozenset((one.topic, one.partition) for one in partitions)


def _triples(offsets: Iterable[tuple[TopicPartition, int]]) -> list[list[Any]]:
    return [[topic, partition, offset] for (topic, partition), offset in sorted(offsets)]
