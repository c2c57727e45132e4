"""`ingestd verify` accounts for a lake's rows, and names every file that is not as it was committed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingestd.accounting.lake import LakeReport, verify_lake
from ingestd.config import options as cfg
from ingestd.lake.merging.cleaning import expire, remove_replaced
from tests.lake.small import SmallLake, lake_pipeline
from tests.lake.stores import Ask


@pytest.fixture
def lake(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallLake]:
    """Three commits of two kinds, nobody reading."""
    monkeypatch.setattr("ingestd.lake.merging.turnover.GRACE_SECS", 0.0)
    one = SmallLake(url, lake_pipeline(tmp_path / "lake"))
    one.fill(3)
    yield one
    one.close()


def _verify(lake: SmallLake, deep: bool = False) -> LakeReport:
    config = cfg.Config(
        kafka=cfg.Kafka(bootstrap_servers="x", group_id="g"), store=lake.options, pipeline=(lake.pipeline,)
    )
    return verify_lake(config, [lake.pipeline], deep)


def _first(lake: SmallLake) -> Path:
    return lake.root / lake.files()[0].key


def test_lake_as_it_was_committed_is_accounted_for(lake: SmallLake) -> None:
    for deep in (False, True):
        report = _verify(lake, deep)
        assert (report.problems, report.notes, report.files, report.rows) == ([], [], 6, 24)


def test_compacted_and_expired_rows_are_accounted_for(lake: SmallLake) -> None:
    lake.compact()
    assert _verify(lake).problems == []
    lake.fill(1)
    assert lake.ledger.lock.take() is None
    expire(lake.place, lake.ledger, 0)
    assert [note for note in _verify(lake).notes if "wait to be removed" in note]
    remove_replaced(lake.place, lake.ledger, 0)
    report = _verify(lake)
    assert (report.problems, report.rows, report.expired_rows) == ([], 0, 32)


def test_file_that_is_not_settled_is_found_where_it_is(lake: SmallLake) -> None:
    lake.roll([{"id": 99, "kind": "a", "amount": "1"}], settled=False)
    report = _verify(lake)
    assert report.problems == []
    assert "1 files are committed and not yet" in report.notes[0]


def test_deleted_file_is_named_with_its_rows(lake: SmallLake) -> None:
    gone = _first(lake)
    gone.unlink()
    (problem,) = _verify(lake).problems
    assert gone.name in problem
    assert "is gone, with 4 rows" in problem


def test_copied_file_is_named_with_what_it_is_a_copy_of(lake: SmallLake) -> None:
    copied = _first(lake)
    shutil.copy(copied, copied.with_name("again.parquet"))
    (problem,) = _verify(lake).problems
    assert "again.parquet" in problem
    assert f"is a copy of kind=a/{copied.name}" in problem


def test_file_of_somebody_else_is_named(lake: SmallLake) -> None:
    pq.write_table(pa.table({"id": [1]}), lake.root / "kind=a" / "mine.parquet")
    (problem,) = _verify(lake).problems
    assert "kind=a/mine.parquet: is no part of the lake: 1 rows too many" in problem


def test_cut_file_is_named(lake: SmallLake) -> None:
    cut = _first(lake)
    cut.write_bytes(cut.read_bytes()[:-100])
    (problem,) = _verify(lake).problems
    assert cut.name in problem
    assert "it was cut off or changed" in problem


def test_file_of_the_same_size_with_another_footer_is_named(lake: SmallLake) -> None:
    changed = _first(lake)
    data = bytearray(changed.read_bytes())
    data[-9] ^= 1
    changed.write_bytes(bytes(data))
    (problem,) = _verify(lake).problems
    assert changed.name in problem
    assert "was changed" in problem


def test_any_flipped_bit_in_the_rows_is_found_by_a_deep_look(lake: SmallLake) -> None:
    flipped = _first(lake)
    whole = flipped.read_bytes()
    column = pq.read_metadata(flipped).row_group(0).column(0)
    end = column.data_page_offset + column.total_compressed_size
    for place in range(end - 10, end):  # below the page's header
        data = bytearray(whole)
        data[place] ^= 1
        flipped.write_bytes(bytes(data))
        assert _verify(lake).problems == []
        (problem,) = _verify(lake, deep=True).problems
        assert flipped.name in problem


def test_manifest_that_lost_a_file_does_not_add_up(lake: SmallLake, ask: Ask) -> None:
    gone = lake.files()[0]
    ask(f"DELETE FROM LEDGER.lake_files WHERE id = {gone.id}")
    problems = _verify(lake).problems
    assert any("24 rows were written, but the files of the manifest had 20" in problem for problem in problems)
    assert any(f"{gone.key}: is no part of the lake" in problem for problem in problems)


def test_offsets_in_two_commits_are_named(lake: SmallLake, ask: Ask) -> None:
    file = lake.files()[-1]
    ask(f"UPDATE LEDGER.lake_files SET range_start = range_start - 2 WHERE id = {file.id}")
    assert any("two commits have the same offsets: 14..15" in problem for problem in _verify(lake).problems)


def test_compaction_that_lost_rows_is_named(lake: SmallLake, ask: Ask) -> None:
    lake.compact()
    ask("UPDATE LEDGER.lake_files SET rows = rows - 1 WHERE made_by = 'compaction'")
    assert any(problem.startswith("compaction ") for problem in _verify(lake).problems)
