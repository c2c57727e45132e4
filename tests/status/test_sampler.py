"""Rates, standstill, curves and children, with a clock of the test."""

from ingestd.board import Board, Lane, LaneState, Slot, SlotCell
from ingestd.status.sampler import HISTORY_POINTS, Reading, Snapshot
from tests.status.boards import SECOND_NS, Watch, running_lane


def only(snapshot: Snapshot) -> Reading:
    (reading,) = snapshot.readings
    return reading


def test_rates_are_taken_over_their_windows() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 0, 1000), Watch(board)
    watch.tick()
    for _ in range(60):
        board.add(lane, Lane.INSERTED, 100)
        watch.tick()
    for _ in range(5):
        board.add(lane, Lane.INSERTED, 700)
        watch.tick()
    reading = only(watch.tick(0))
    assert (reading.now.rows, reading.short.rows) == (700.0, 700.0)
    assert reading.long.rows == (55 * 100 + 5 * 700) / 60


def test_upserts_that_update_or_delete_count_as_rows() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 0, 1000), Watch(board)
    watch.tick()
    for cell, amount in ((Lane.INSERTED, 1), (Lane.UPDATED, 20), (Lane.DELETED, 300), (Lane.STALE, 4000)):
        board.add(lane, cell, amount)
    assert only(watch.tick()).now.rows == 321.0


def test_rates_are_zero_again_when_nothing_moves() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 0, 1000), Watch(board)
    watch.tick()
    board.add(lane, Lane.RECORDS, 500)
    assert only(watch.tick()).short.records == 500.0
    assert only(watch.tick(4)).short.records == 100.0
    assert only(watch.tick(1)).short.records == 0.0


def test_backpressure_is_the_share_of_time_and_never_more_than_all() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 0, 1000), Watch(board)
    watch.tick()
    board.add(lane, Lane.BACKPRESSURE_NS, SECOND_NS // 4)
    assert only(watch.tick()).now.backpressure == 0.25
    board.add(lane, Lane.BACKPRESSURE_NS, 30 * SECOND_NS)
    assert only(watch.tick()).now.backpressure == 1.0


def test_batch_ms_is_the_last_batch_then_the_mean_of_the_window_and_is_kept_when_nothing_comes() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 0, 1000), Watch(board)
    board.set(lane, Lane.LAST_WRITE_NS, 9_000_000)
    assert only(watch.tick()).batch_ms["write"] == 9.0
    board.add(lane, Lane.BATCHES, 4)
    board.add(lane, Lane.WRITE_NS, 80_000_000)
    assert only(watch.tick()).batch_ms["write"] == 20.0
    assert only(watch.tick(100)).batch_ms["write"] == 20.0


def test_backpressure_of_all_is_that_of_the_slowest_partition() -> None:
    board = Board()
    lane = running_lane(board, 0, 0, 0, 1000)
    running_lane(board, 0, 1, 0, 1000)
    watch = Watch(board)
    watch.tick()
    board.add(lane, Lane.BACKPRESSURE_NS, SECOND_NS // 2)
    assert watch.tick().history[""][-1].backpressure == 0.5


def test_standstill_grows_with_lag_and_ends_when_the_cursor_moves() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 10, 1000), Watch(board)
    assert only(watch.tick(31)).stalled_secs == 30.0
    board.set(lane, Lane.NEXT_OFFSET, 11)
    assert only(watch.tick()).stalled_secs == 0.0


def test_caught_up_partition_does_not_stand_still() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 1000, 1000), Watch(board)
    assert only(watch.tick(600)).stalled_secs == 0.0
    board.set(lane, Lane.LOG_END, 1001)
    assert only(watch.tick()).stalled_secs == 1.0


def test_standstill_of_another_host_is_not_ours() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 10, 1000), Watch(board)
    watch.tick(100)
    board.set(lane, Lane.STATE, LaneState.RELEASED)
    released = only(watch.tick(100))
    assert (released.held, released.lag_records, released.stalled_secs) == (False, None, 0.0)
    board.set(lane, Lane.STATE, LaneState.CLAIMING)
    assert only(watch.tick()).stalled_secs == 0.0


def test_lag_time_counts_from_the_moment_it_was_caught_up() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 1000, 1000), Watch(board)
    board.set(lane, Lane.LAST_RECORD_MS, watch.now_ms)
    watch.tick(300)
    board.set(lane, Lane.LOG_END, 1500)
    assert only(watch.tick(3)).lag_secs == 3.0


def test_history_is_bounded_and_sums_what_is_held() -> None:
    board = Board()
    running_lane(board, 0, 0, 10, 15)
    running_lane(board, 0, 1, 10, 17)
    running_lane(board, 1, 0, 10, 100)
    snapshot = Watch(board).tick(HISTORY_POINTS + 50)
    assert {name: len(points) for name, points in snapshot.history.items()} == dict.fromkeys(
        ("", "orders", "sales"), HISTORY_POINTS
    )
    assert [snapshot.history[name][-1].lag_records for name in ("orders", "sales", "")] == [12, 90, 102]


def test_age_of_log_ends_is_seen_whatever_clock_stamps_them() -> None:
    board = Board()
    lane, watch = running_lane(board, 0, 0, 10, 15), Watch(board)
    assert watch.tick(40).log_end_age_secs == 39.0
    board.add(lane, Lane.LOG_END_AT_NS, 1)
    assert watch.tick().log_end_age_secs == 0.0


def test_restarts_are_counted_and_a_worker_that_left_is_not_missed() -> None:
    board = Board()
    watch, worker = Watch(board), Slot.FIRST_WORKER + 2
    for slot in (Slot.MEMBERSHIP, worker):
        board.set_slot(slot, SlotCell.PID, 41)
    watch.tick(3)
    for slot in (Slot.MEMBERSHIP, worker):
        board.set_slot(slot, SlotCell.PID, 0)
    assert [(child.name, child.pid) for child in watch.tick().children] == [("membership", 0)]
    board.set_slot(worker, SlotCell.PID, 42)
    assert [(child.name, child.starts) for child in watch.tick().children] == [("membership", 1), ("worker-2", 2)]
