"""The board's cursors to the group, so that Kafka tools show lag, and the log ends to the board. Asks no broker."""

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as Position

from ingestd.board import Board, Lane
from ingestd.logs import get_logger
from ingestd.membership.offsets import lanes_of, next_offsets
from ingestd.planning import TopicPartition

log = get_logger()


class Mirror:
    """Only a mirror: what is lost here comes with the next change."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._mirrored: dict[TopicPartition, int] = {}
        self.moved_at = time.monotonic()
        """When a cursor moved, or a log end was not where its cursor is."""

    def commit(self, consumer: Consumer, assigned: frozenset[TopicPartition]) -> None:
        """Commit the cursors that moved; `on_commit` must be the consumer's callback."""
        offsets = next_offsets(self._board, assigned)
        moved = {one: offset for one, offset in offsets.items() if self._mirrored.get(one) != offset}
        if not moved:
            return
        self.moved_at = time.monotonic()
        self._mirrored |= moved
        positions = [Position(topic, partition, offset) for (topic, partition), offset in moved.items()]
        try:
            consumer.commit(offsets=positions)
        except KafkaException as error:
            self.on_commit(error.args[0], positions)

    def on_commit(self, error: KafkaError | None, positions: list[Position]) -> None:
        """Forget what was not taken: the next tick commits it again."""
        for one in positions:
            if error is not None or one.error is not None:
                self._mirrored.pop((one.topic, one.partition), None)
        if error is not None:
            log.debug("offsets not mirrored to the group", reason=error.str())

    def keep(self, assigned: frozenset[TopicPartition]) -> None:
        """Forget what was committed for other partitions: another host goes on there."""
        self._mirrored = {one: offset for one, offset in self._mirrored.items() if one in assigned}

    def note_log_ends(self, ends: Mapping[TopicPartition, int], assigned: frozenset[TopicPartition]) -> None:
        """Write the log ends to the lanes of the board."""
        for lane, partition in lanes_of(self._board, assigned):
            if partition in ends:
                if ends[partition] != self._board.get(lane, Lane.NEXT_OFFSET):
                    self.moved_at = time.monotonic()
                self._board.set(lane, Lane.LOG_END, ends[partition])
                self._board.set(lane, Lane.LOG_END_AT_NS, time.time_ns())
