"""What pages, metrics, the group and a run "until caught up" are told of a lake."""

from msgspec import to_builtins

from ingestd.board import Board, Lane, LaneState, take_lane
from ingestd.config import options as cfg
from ingestd.membership.offsets import next_offsets
from ingestd.status.exposition import BoardCollector
from ingestd.status.sampler import Sampler
from ingestd.status.table import plain_lines
from ingestd.status.view import status_view
from ingestd.supervisor.catch_up import partitions_not_rolled

PIPELINE = cfg.Pipeline(name="p", topic="t", lake=cfg.Lake(path="lake/t"))


def _board(lake: int, table: int = 100) -> Board:
    """One partition whose table group stands at `table`, with a log end of 150."""
    board = Board()
    lane = take_lane(board, 0, "t", 0)
    for cell, value in (
        (Lane.STATE, LaneState.RUNNING),
        (Lane.NEXT_OFFSET, table),
        (Lane.LOG_END, 150),
        (Lane.LAKE_OFFSET, lake),
        (Lane.LAKE_OPEN_ROWS, 40),
        (Lane.LAKE_FILES, 3),
        (Lane.LAKE_ROWS, 60),
    ):
        board.set(lane, cell, value)
    return board


def test_group_is_told_the_lower_of_the_two_cursors() -> None:
    here = frozenset({("t", 0)})
    assert next_offsets(_board(60), here) == {("t", 0): 60}
    assert next_offsets(_board(120), here) == {("t", 0): 100}
    assert next_offsets(_board(-1), here) == {("t", 0): 100}, "no lake, or not claimed yet"
    assert next_offsets(_board(60, table=-1), here) == {}


def test_run_until_caught_up_is_not_over_while_rows_are_open() -> None:
    assert partitions_not_rolled(_board(60)) == 1
    assert partitions_not_rolled(_board(100)) == partitions_not_rolled(_board(-1)) == 0


def test_page_and_metrics_show_the_lake_beside_the_table() -> None:
    snapshot = Sampler(_board(60), (PIPELINE,), 1, 1_000).sample(10**9, 2_000)
    view = to_builtins(status_view(snapshot, [PIPELINE], []))
    (pipeline,) = view["pipelines"]
    assert pipeline["total"]["lag_records"] == 50
    assert (pipeline["lake"]["lag_records"], pipeline["lake"]["open_rows"], pipeline["lake"]["files"]) == (90, 40, 3)
    assert pipeline["partitions"][0]["lake_next_offset"] == 60
    lines = plain_lines(view)
    assert "p: topic t into lake lake/t" in lines
    assert any("next offset 60; lag 90 records, 40 rows open; 3 files with 60 rows" in line for line in lines)
    found = {sample.name: sample.value for one in BoardCollector(lambda: snapshot).collect() for sample in one.samples}
    assert (found["ingestd_lake_lag_records"], found["ingestd_lake_next_offset"]) == (90, 60)
    assert found["ingestd_lake_rows_total"] == 60


def test_nothing_is_said_of_a_lake_where_there_is_none() -> None:
    snapshot = Sampler(_board(-1), (PIPELINE,), 1, 1_000).sample(10**9, 2_000)
    names = {sample.name for one in BoardCollector(lambda: snapshot).collect() for sample in one.samples}
    assert not names & {"ingestd_lake_lag_records", "ingestd_lake_next_offset"}
    table = cfg.Pipeline(name="p", topic="t", table=cfg.Table(name="x"))
    assert to_builtins(status_view(snapshot, [table], []))["pipelines"][0]["lake"] is None
