"""What the supervisor knows of the consumer group, from the membership's messages. Knows no process and no Kafka.

The messages, one JSON object each. From the membership: up; assigned (seq, partitions: all of this host); revoking
(seq, partitions); lost (partitions); confirmed (id, partitions) or unconfirmed (id, why); log_ends and committed
(partitions with offsets); trouble (text, "" when it is over). To the membership: drained (seq); confirm (id);
targets; stay (keep the place in the group when stopping).
"""

from collections.abc import Callable, Iterable
from typing import Any

from ingestd.channel import Channel, Message
from ingestd.logs import get_logger
from ingestd.planning import TopicPartition, named

log = get_logger()

CONFIRM_AGAIN_SECS = 1.0


class GroupView:
    """One membership process's view; a new process gets a new one, and only what that one reports counts."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.up = False
        self.assigned: frozenset[TopicPartition] | None = None
        """What may be started here; None until this membership has reported."""
        self.revoking: frozenset[TopicPartition] = frozenset()
        """Workers of these must end; then `answer_drained`."""
        self.confirmed_at = 0.0
        """When the latest confirmed question was asked: the assignment was true at some moment after it."""
        self.trouble = ""
        self.log_ends: dict[TopicPartition, int] | None = None
        self.committed: dict[TopicPartition, int] = {}
        self._revoke_seq = 0
        self._asked: dict[int, float] = {}
        self._asked_at = 0.0
        self._questions = 0

    def take(self, on_change: Callable[[], None], on_lost: Callable[[frozenset[TopicPartition]], None]) -> None:
        """Read what has arrived; `on_change` after each change of `assigned`."""
        for message in self.channel.take():
            before = self.assigned
            lost = self._note(message)
            if lost:
                on_lost(lost)
            if self.assigned != before:
                on_change()

    def ask_confirmation(self, now: float) -> None:
        """Ask whether the group still says so; at most once a second."""
        if now - self._asked_at < CONFIRM_AGAIN_SECS:
            return
        self._asked_at = now
        self._questions += 1
        self._asked = {self._questions: now}
        self.channel.send({"op": "confirm", "id": self._questions})

    def answer_drained(self) -> None:
        """No worker here holds what is being revoked."""
        self.revoking = frozenset()
        self.channel.send({"op": "drained", "seq": self._revoke_seq})

    def _note(self, message: Message) -> frozenset[TopicPartition]:
        """Take one message in; the partitions it says are lost."""
        kind = message["event"]
        if kind == "up":
            self.up = True
        elif kind == "assigned":
            self.assigned = _partitions(message["partitions"])
            log.info("partitions assigned", count=len(self.assigned), partitions=named(self.assigned))
        elif kind == "revoking":
            self._revoke_seq = message["seq"]
            self.revoking = _partitions(message["partitions"])
            self.assigned = (self.assigned or frozenset()) - self.revoking
            log.info("partitions revoked", partitions=named(self.revoking))
        elif kind == "lost":
            lost = _partitions(message["partitions"])
            self.assigned = (self.assigned or frozenset()) - lost
            log.warning("partitions lost", partitions=named(lost))
            return lost
        elif kind == "confirmed":
            self._note_confirmed(message)
        elif kind == "unconfirmed":
            self._asked.pop(message["id"], None)
            log.info("assignment not confirmed", why=message["why"])
        elif kind == "log_ends":
            self.log_ends = _offsets(message["partitions"])
        elif kind == "committed":
            self.committed = _offsets(message["partitions"])
        elif kind == "trouble":
            self.trouble = message["text"]
        return frozenset()

    def _note_confirmed(self, message: Message) -> None:
        asked_at = self._asked.pop(message["id"], None)
        if asked_at is not None:
            self.confirmed_at = asked_at
            self.assigned = _partitions(message["partitions"]) - self.revoking


def _partitions(pairs: Iterable[list[Any]]) -> frozenset[TopicPartition]:
    return frozenset((topic, partition) for topic, partition in pairs)


def _offsets(triples: Iterable[list[Any]]) -> dict[TopicPartition, int]:
    return {(topic, partition): offset for topic, partition, offset in triples}
