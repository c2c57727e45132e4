"""What /healthz and /readyz say, by progress and not by sockets."""

import os

import pytest

from ingestd.board import Board, Lane, LaneState, Slot, SlotCell, take_lane, write_text
from ingestd.status.health import liveness, readiness
from tests.status.boards import SECOND_NS, Watch, running_lane

STUCK_SECS = 300.0


def beat(board: Board, watch: Watch, age_secs: int = 0, slot: int = Slot.MEMBERSHIP) -> None:
    board.set_slot(slot, SlotCell.PID, os.getpid())
    board.set_slot(slot, SlotCell.BEAT_NS, watch.now_ns - age_secs * SECOND_NS)


def codes(board: Board, watch: Watch, secs: int, stalled_after_secs: float = 60.0) -> list[str]:
    """Reasons after that many seconds, with a membership that beats."""
    snapshot = watch.tick(secs - 1)
    board.set(0, Lane.LOG_END_AT_NS, watch.secs)
    beat(board, watch)
    snapshot = watch.tick()
    return [reason.code for reason in readiness(snapshot, stalled_after_secs)]


def test_partition_with_lag_is_not_ready_once_it_stands_still_too_long() -> None:
    board = Board()
    running_lane(board, 0, 0, 10, 15)
    watch = Watch(board)
    assert codes(board, watch, 61) == []
    assert codes(board, watch, 2) == ["stalled"]
    board.set(0, Lane.NEXT_OFFSET, 12)
    assert codes(board, watch, 1) == []


def test_idle_partition_stays_ready() -> None:
    board = Board()
    running_lane(board, 0, 0, 15, 15)
    assert codes(board, Watch(board), 1000) == []


def test_partition_that_is_never_claimed_is_not_ready() -> None:
    board = Board()
    board.set(take_lane(board, 0, "orders-topic", 0), Lane.STATE, LaneState.CLAIMING)
    assert codes(board, Watch(board), 62) == ["stalled"]


def test_halted_partition_is_named_at_once_with_its_text() -> None:
    board = Board()
    lane, watch = running_lane(board, 1, 7, 15, 15), Watch(board)
    board.set(lane, Lane.STATE, LaneState.HALTED)
    write_text(board, lane, "decide with `ingestd offsets reset`")
    beat(board, watch)
    (reason,) = readiness(watch.tick(), 60.0)
    assert (reason.code, reason.pipeline, reason.partition) == ("halted", "sales", 7)
    assert "sales-topic-7" in reason.message
    assert "decide with `ingestd offsets reset`" in reason.message


@pytest.mark.parametrize("age_secs", [None, 31], ids=["gone", "silent"])
def test_membership_that_is_gone_or_silent_is_not_ready(age_secs: int | None) -> None:
    board = Board()
    running_lane(board, 0, 0, 15, 15)
    watch = Watch(board)
    if age_secs is not None:
        beat(board, watch, age_secs)
    assert [reason.code for reason in readiness(watch.tick(), 60.0)] == ["membership_down"]


def test_host_is_not_ready_before_its_first_partition_but_stays_so_when_they_move_away() -> None:
    board, lane = Board(), 0
    watch = Watch(board)
    assert codes(board, watch, 1) == ["not_assigned"]
    lane = running_lane(board, 0, 0, 15, 15)
    assert codes(board, watch, 1) == []
    board.set(lane, Lane.STATE, LaneState.RELEASED)
    assert codes(board, watch, 1) == []


def test_lag_that_nobody_samples_any_more_is_not_trusted() -> None:
    board = Board()
    running_lane(board, 0, 0, 15, 15)
    watch = Watch(board)
    watch.tick(121)
    beat(board, watch)
    assert [reason.code for reason in readiness(watch.tick(), 60.0)] == ["lag_unknown"]


def test_liveness_fails_only_when_the_supervisor_fails_its_duty() -> None:
    board = Board()
    watch = Watch(board)
    beat(board, watch, 320, Slot.FIRST_WORKER)
    assert liveness(watch.tick(), True, STUCK_SECS) == []
    assert [reason.code for reason in liveness(watch.tick(20), True, STUCK_SECS)] == ["child_stuck"]
    assert [reason.code for reason in liveness(Watch(Board()).tick(), False, STUCK_SECS)] == ["supervisor_gone"]


def test_crashed_worker_is_no_reason_to_restart_the_daemon() -> None:
    board = Board()
    watch = Watch(board)
    beat(board, watch, 320, Slot.FIRST_WORKER)
    board.set_slot(Slot.FIRST_WORKER, SlotCell.PID, 0)
    assert liveness(watch.tick(60), True, STUCK_SECS) == []
