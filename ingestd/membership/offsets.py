"""What of the board goes to the group, so that every Kafka tool shows true lag. Pure; knows no Kafka client."""

from ingestd.board import Board, Lane, read_topic
from ingestd.planning import TopicPartition


def next_offsets(board: Board, assigned: frozenset[TopicPartition]) -> dict[TopicPartition, int]:
    """The cursor of every assigned partition; with several pipelines on a topic the lowest, if all have claimed it.

    Of a pipeline with a lake it is the lower of its two: a restart reads from there. Partitions not yet claimed are
    left out.
    """
    lowest: dict[TopicPartition, int] = {}
    for lane, partition in lanes_of(board, assigned):
        offset, lake = board.get(lane, Lane.NEXT_OFFSET), board.get(lane, Lane.LAKE_OFFSET)
        offset = min(offset, lake) if lake >= 0 else offset
        lowest[partition] = min(offset, lowest.get(partition, offset))
    return {partition: offset for partition, offset in lowest.items() if offset >= 0}


def lanes_of(board: Board, assigned: frozenset[TopicPartition]) -> list[tuple[int, TopicPartition]]:
    """(lane, its topic and partition) of every lane whose partition is assigned."""
    named = [(lane, (read_topic(board, lane), board.get(lane, Lane.PARTITION))) for lane in board.taken_lanes()]
    return [(lane, partition) for lane, partition in named if partition in assigned]
