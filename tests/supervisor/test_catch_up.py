"""When a run "until caught up" is over."""

from msgspec import structs

from ingestd.board import Board, Lane, LaneState, take_lane
from ingestd.config.options import Pipeline, Table
from ingestd.supervisor.catch_up import Progress, catch_up_progress

READER = Pipeline(name="p", topic="t", table=Table(name="t"))
HERE = frozenset({("t", 0), ("t", 1)})


def progress(cursors: dict[int, int], targets: dict[int, int], committed: int = -1, halted: int = -1) -> Progress:
    board = Board()
    for partition, offset in cursors.items():
        lane = take_lane(board, 0, "t", partition)
        board.set(lane, Lane.NEXT_OFFSET, offset)
        board.set(lane, Lane.STATE, LaneState.HALTED if partition == halted else LaneState.RUNNING)
    wanted = {("t", partition): offset for partition, offset in targets.items()}
    return catch_up_progress(wanted, (READER,), HERE, {("t", 2): committed}, board)


def test_one_record_short_is_pending() -> None:
    assert progress({0: 9, 1: 5}, {0: 10, 1: 5}) is Progress.PENDING
    assert progress({0: 10, 1: 6}, {0: 10, 1: 5}) is Progress.DONE


def test_empty_partition_is_done_only_when_claimed() -> None:
    assert progress({0: -1}, {0: 0}) is Progress.PENDING
    assert progress({}, {0: 0}) is Progress.PENDING
    assert progress({0: 0}, {0: 0}) is Progress.DONE


def test_partition_of_another_host_counts_by_the_group() -> None:
    assert progress({0: 1}, {0: 1, 2: 7}, committed=6) is Progress.PENDING
    assert progress({0: 1}, {0: 1, 2: 7}, committed=7) is Progress.DONE


def test_halted_partition_counts_only_when_all_others_are_done() -> None:
    assert progress({0: 1, 1: 1}, {0: 9, 1: 2}, halted=0) is Progress.PENDING
    assert progress({0: 1, 1: 2}, {0: 9, 1: 2}, halted=0) is Progress.HALTED
    assert progress({0: 9, 1: 2}, {0: 9, 1: 2}, halted=0) is Progress.DONE


def test_every_pipeline_of_a_topic_must_arrive() -> None:
    board = Board()
    board.set(take_lane(board, 0, "t", 0), Lane.NEXT_OFFSET, 3)
    assert catch_up_progress({("t", 0): 3}, (READER, READER), HERE, {}, board) is Progress.PENDING
    board.set(take_lane(board, 1, "t", 0), Lane.NEXT_OFFSET, 3)
    assert catch_up_progress({("t", 0): 3}, (READER, READER), HERE, {}, board) is Progress.DONE


def test_partitions_of_one_number_are_told_apart_by_their_topics() -> None:
    board, reader = Board(), (structs.replace(READER, topic="m.*", table=Table(name="{table}")),)
    wanted = {("m.a", 0): 3, ("m.b", 0): 5}
    board.set(take_lane(board, 0, "m.a", 0), Lane.NEXT_OFFSET, 3)
    board.set(take_lane(board, 0, "m.b", 0), Lane.NEXT_OFFSET, 3)
    assert catch_up_progress(wanted, reader, frozenset(wanted), {}, board) is Progress.PENDING
    board.set(take_lane(board, 0, "m.b", 0), Lane.NEXT_OFFSET, 5)
    assert catch_up_progress(wanted, reader, frozenset(wanted), {}, board) is Progress.DONE
