"""/metrics: what is exposed, what is left out, and that the reference pages are current."""

import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ingestd import __version__
from ingestd.board import AGE_BUCKETS_SECS, Board, Lane, Slot, SlotCell
from ingestd.metrics import METRICS, PREFIX
from ingestd.reference import api as api_reference
from ingestd.reference import metrics as metrics_reference
from ingestd.status.exposition import BoardCollector
from ingestd.status.sampler import Snapshot
from tests.status.boards import Watch, running_lane

DOCS = Path(__file__).parents[2] / "docs"
ORDERS_0 = {"pipeline": "orders", "topic": "orders-topic", "partition": "0"}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def registry_of(snapshot: Snapshot) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(BoardCollector(lambda: snapshot))
    return registry


def scrape(snapshot: Snapshot) -> Samples:
    text = generate_latest(registry_of(snapshot)).decode()
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **extra: str) -> float | None:
    return samples.get((name, frozenset((ORDERS_0 | extra).items())))


def test_every_cell_of_a_partition_reaches_its_metric_in_base_units() -> None:
    board = Board()
    lane = running_lane(board, 0, 0, 40, 55)
    for cell, amount in {
        Lane.RECORDS: 100,
        Lane.INSERTED: 90,
        Lane.DUPLICATES: 7,
        Lane.DEAD: 3,
        Lane.BYTES: 26_500,
        Lane.STAGED_BATCHES: 4,
        Lane.BACKPRESSURE_NS: 2_500_000_000,
        Lane.WRITE_NS: 1_250_000_000,
        Lane.LAST_COMMIT_NS: 1_700_000_000_250_000_000,
        Lane.LAST_RECORD_MS: 1_700_000_000_100,
    }.items():
        board.set(lane, cell, amount)
    samples = scrape(Watch(board).tick())
    assert value(samples, "records_total") == 100
    assert value(samples, "rows_inserted_total") == 90
    assert value(samples, "duplicates_total") == 7
    assert value(samples, "dead_letters_total") == 3
    assert value(samples, "payload_bytes_total") == 26_500
    assert value(samples, "batches_total", way="staged") == 4
    assert value(samples, "batches_total", way="direct") == 0
    assert value(samples, "backpressure_seconds_total") == pytest.approx(2.5)
    assert value(samples, "stage_seconds_total", stage="write") == pytest.approx(1.25)
    assert value(samples, "last_commit_timestamp_seconds") == pytest.approx(1_700_000_000.25)
    assert value(samples, "last_record_timestamp_seconds") == pytest.approx(1_700_000_000.1)
    assert value(samples, "next_offset") == 40
    assert value(samples, "log_end_offset") == 55
    assert value(samples, "lag_records") == 15
    assert value(samples, "lease_epoch") == 3
    assert value(samples, "partition_state", state="running") == 1
    assert value(samples, "partition_state", state="halted") == 0


@pytest.mark.parametrize(
    ("next_offset", "log_end", "absent"),
    [(-1, 55, "next_offset"), (40, -1, "log_end_offset")],
)
def test_unknown_is_absent_and_not_zero(next_offset: int, log_end: int, absent: str) -> None:
    board = Board()
    running_lane(board, 0, 0, next_offset, log_end)
    samples = scrape(Watch(board).tick())
    assert [value(samples, name) for name in (absent, "lag_records", "lag_seconds")] == [None, None, None]
    assert value(samples, "last_commit_timestamp_seconds") is None


def test_age_histogram_is_cumulative_and_ends_at_the_count() -> None:
    board = Board()
    lane = running_lane(board, 0, 0, 40, 40)
    for index in range(len(AGE_BUCKETS_SECS) + 1):
        board.set(lane, Lane.AGE_BUCKET_0 + index, index + 1)
    board.set(lane, Lane.AGE_SUM_NS, 3_500_000_000)
    samples = scrape(Watch(board).tick())
    total = sum(range(1, len(AGE_BUCKETS_SECS) + 2))
    assert value(samples, "record_age_seconds_bucket", le="0.005") == 1
    assert value(samples, "record_age_seconds_bucket", le="0.01") == 3
    assert value(samples, "record_age_seconds_bucket", le="+Inf") == total
    assert value(samples, "record_age_seconds_count") == total
    assert value(samples, "record_age_seconds_sum") == pytest.approx(3.5)


def test_children_show_memory_and_heartbeat() -> None:
    board = Board()
    watch = Watch(board)
    board.set_slot(Slot.MEMBERSHIP, SlotCell.PID, os.getpid())
    board.set_slot(Slot.MEMBERSHIP, SlotCell.BEAT_NS, watch.now_ns)
    samples = scrape(watch.tick(2))
    child = frozenset({("child", "membership")})
    assert samples["child_up", child] == 1
    assert samples["child_heartbeat_age_seconds", child] == 2
    assert samples["child_starts_total", child] == 1
    assert samples["child_resident_memory_bytes", child] > 5_000_000


def test_child_that_ended_between_sample_and_scrape_has_no_memory_and_breaks_nothing() -> None:
    board = Board()
    board.set_slot(Slot.MEMBERSHIP, SlotCell.PID, 2**22 + 1)
    samples = scrape(Watch(board).tick())
    assert ("child_resident_memory_bytes", frozenset({("child", "membership")})) not in samples


def test_build_is_named() -> None:
    assert scrape(Watch(Board()).tick())["build_info", frozenset({("version", __version__)})] == 1


def test_openmetrics_accepts_every_metric() -> None:
    board = Board()
    running_lane(board, 0, 0, 1, 2)
    text: bytes = generate_openmetrics(registry_of(Watch(board).tick()))  # type: ignore[no-untyped-call]
    assert text.endswith(b"# EOF\n")


def test_names_are_unique_and_carry_their_unit() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert [m.name for m in METRICS if (m.kind == "counter") != m.name.endswith("_total")] == []
    assert [m.name for m in METRICS if m.scale != 1 and "_seconds" not in m.name] == []


def test_every_metric_has_either_cells_or_a_reading() -> None:
    assert [metric.name for metric in METRICS if bool(metric.cells) == bool(metric.reading)] == []


@pytest.mark.parametrize(
    ("name", "page"), [("metrics.md", metrics_reference.render()), ("api.md", api_reference.render())]
)
def test_reference_page_is_current(name: str, page: str) -> None:
    assert (DOCS / name).read_text() == page
