"""What of the board goes to the group, so that every Kafka tool shows true lag. Pure; knows no Kafka client."""

from collections.abc import Sequence

from ingestd.board import Board, Lane
from ingestd.planning import TopicPartition


def next_offsets(board: Board, topics: Sequence[str], assigned: frozenset[TopicPartition]) -> dict[TopicPartition, int]:
    """The cursor of every assigned partition; with several pipelines on a topic the lowest, if all have claimed it.

    `topics[i]` is the topic of pipeline i. Partitions not yet claimed are left out.
    """
    lowest: dict[TopicPartition, int] = {}
    for lane, partition in lanes_of(board, topics, assigned):
        offset = board.get(lane, Lane.NEXT_OFFSET)
        lowest[partition] = min(offset, lowest.get(partition, offset))
    return {partition: offset for partition, offset in lowest.items() if offset >= 0}


def lanes_of(
    board: Board, topics: Sequence[str], assigned: frozenset[TopicPartition]
) -> list[tuple[int, TopicPartition]]:
    """(lane, its topic and partition) of every lane whose partition is assigned."""
    lanes = [(lane, board.lane(lane)) for lane in board.taken_lanes()]
    named = [(lane, (topics[cells[Lane.PIPELINE]], cells[Lane.PARTITION])) for lane, cells in lanes]
    return [(lane, partition) for lane, partition in named if partition in assigned]
