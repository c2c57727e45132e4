"""`--until-caught-up`: whether every cursor has reached the log end of the start. Pure; knows no process."""

from collections.abc import Mapping, Sequence
from enum import Enum

from ingestd.board import Board, Lane, LaneState, read_topic
from ingestd.config.pipeline import Pipeline
from ingestd.config.topics import pipelines_of
from ingestd.planning import TopicPartition


class Progress(Enum):
    PENDING = "pending"
    DONE = "done"
    HALTED = "halted"
    """Every partition is done but those that halted here."""


def catch_up_progress(
    targets: Mapping[TopicPartition, int],
    pipelines: Sequence[Pipeline],
    assigned: frozenset[TopicPartition],
    committed: Mapping[TopicPartition, int],
    board: Board,
) -> Progress:
    """Compare cursors with targets: partitions of this host by the board, of other hosts by the group's offsets.

    An empty partition is done as soon as it has been claimed.
    """
    lanes = {
        (board.get(x, Lane.PIPELINE), read_topic(board, x), board.get(x, Lane.PARTITION)): x
        for x in board.taken_lanes()
    }
    readers = {topic: pipelines_of(pipelines, topic) for topic, _ in targets}
    states = set()
    for (topic, partition), target in targets.items():
        if (topic, partition) not in assigned:
            states.add(_compare(committed.get((topic, partition), -1), target))
            continue
        for pipeline in readers[topic]:
            lane = lanes.get((pipeline, topic, partition))
            states.add(Progress.PENDING if lane is None else _lane_progress(board, lane, target))
    return next((state for state in (Progress.PENDING, Progress.HALTED) if state in states), Progress.DONE)


def _lane_progress(board: Board, lane: int, target: int) -> Progress:
    reached = _compare(board.get(lane, Lane.NEXT_OFFSET), target)
    if reached is Progress.PENDING and board.get(lane, Lane.STATE) == LaneState.HALTED:
        return Progress.HALTED
    return reached


def _compare(next_offset: int, target: int) -> Progress:
    return Progress.DONE if next_offset >= max(target, 0) else Progress.PENDING


def partitions_not_rolled(board: Board) -> int:
    """How many partitions have records in the table, but not yet in the lake; 0 after all workers ended in peace."""
    lanes = [(board.get(lane, Lane.LAKE_OFFSET), board.get(lane, Lane.NEXT_OFFSET)) for lane in board.taken_lanes()]
    return sum(0 <= lake < table for lake, table in lanes)
