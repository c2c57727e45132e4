"""A pipeline of many topics on the page, in the terminal and in the metrics: each partition with its topic."""

from msgspec import structs, to_builtins

from ingestd.board import Board, Lane, LaneState, take_lane, write_text
from ingestd.config.options import Pipeline, Table
from ingestd.status.exposition import BoardCollector
from ingestd.status.sampler import Sampler, Snapshot
from ingestd.status.table import plain_lines
from ingestd.status.view import status_view
from tests.status.boards import START_MS, START_NS, make_config

MANY = structs.replace(make_config().pipeline[0], topic="cdc.*", table=Table(name="{schema}.{table}"))


def snapshot_of(*topics: str, pipeline: Pipeline = MANY) -> Snapshot:
    board = Board()
    for number, topic in enumerate(topics):
        lane = take_lane(board, 0, topic, 0)
        board.set(lane, Lane.STATE, LaneState.HALTED if number else LaneState.RUNNING)
        board.set(lane, Lane.NEXT_OFFSET, 10 + number)
        write_text(board, lane, "no such column" if number else "")
    return Sampler(board, (pipeline,), START_NS, START_MS).sample(START_NS + 10**9, START_MS + 1000)


def test_partitions_of_one_number_are_told_apart() -> None:
    view = status_view(snapshot_of("cdc.public.b", "cdc.public.a"), [MANY], [])
    shown = [(one.topic, one.table, one.partition, one.next_offset) for one in view.pipelines[0].partitions]
    assert shown == [("cdc.public.a", "public.a", 0, 11), ("cdc.public.b", "public.b", 0, 10)]
    lines = plain_lines(to_builtins(view))
    assert any(line.lstrip().startswith("cdc.public.a-0  ") for line in lines)
    assert "cdc.public.a-0: no such column" in lines
    assert "orders: topic cdc.* into {schema}.{table}" in lines


def test_metrics_have_the_topic_and_not_the_pattern() -> None:
    collector = BoardCollector(lambda: snapshot_of("cdc.public.b", "cdc.public.a"))
    found = {
        sample.labels["topic"] for one in collector.collect() for sample in one.samples if "topic" in sample.labels
    }
    assert found == {"cdc.public.a", "cdc.public.b"}


def test_one_topic_is_shown_by_its_partitions_alone() -> None:
    one = structs.replace(MANY, topic="cdc.public.a")
    view = status_view(snapshot_of("cdc.public.a", pipeline=one), [one], [])
    assert not any("cdc.public.a-0" in line for line in plain_lines(to_builtins(view)))
