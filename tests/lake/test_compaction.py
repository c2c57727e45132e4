"""Small files become one; no row is lost, doubled or changed, whoever else has files there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ingestd.config import options as cfg
from ingestd.lake.merging.compaction import Compactor
from tests.lake.small import SmallLake, lake_pipeline, with_lake

MakeLake = Callable[..., SmallLake]


@pytest.fixture(autouse=True)
def no_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads: there is nobody to wait for."""
    monkeypatch.setattr("ingestd.lake.merging.turnover.GRACE_SECS", 0.0)


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Iterator[MakeLake]:
    """`lake(**options of the lake)` makes one."""
    made: list[SmallLake] = []

    def make(columns: dict[str, str] | None = None, **options: Any) -> SmallLake:
        made.append(SmallLake(url, lake_pipeline(tmp_path / "lake", columns, **options)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("readers", ["any", "manifest"])
def test_small_files_become_one_for_each_directory(lake: MakeLake, readers: str) -> None:
    one = lake(compact={"min_files": 2, "readers": readers})
    one.fill(5)
    (done,) = one.compact()
    assert (done.files_before, done.files_after, done.rows) == (10, 2, 40)
    assert one.manifest_ids() == list(range(1, 41))
    assert [file.directory for file in one.files()] == ["kind=a", "kind=b"]
    assert not one.on_disk("_staging")
    if readers == "any":
        assert one.ids() == list(range(1, 41))
        assert len(one.on_disk()) == 2


def test_lake_without_partitions_is_compacted(lake: MakeLake) -> None:
    one = lake(partition_by=[])
    one.fill(4)
    assert [done.files_after for done in one.compact()] == [1]
    assert one.ids() == list(range(1, 33))
    assert len(one.on_disk()) == 1


def test_second_run_finds_nothing_to_do(lake: MakeLake) -> None:
    one = lake()
    one.fill(3)
    one.compact()
    before = one.files()
    assert one.compact() == []
    assert one.files() == before


def test_directory_with_few_small_files_stays(lake: MakeLake) -> None:
    one = lake(compact={"min_files": 4})
    one.fill(3)
    assert one.compact() == []


def test_only_the_directories_that_are_asked_for(lake: MakeLake) -> None:
    one = lake()
    one.fill(3)
    assert {group.directory for group in one.compactor().plan("kind=a*")} == {"kind=a"}


def test_groups_reach_about_the_target(lake: MakeLake) -> None:
    one = lake()
    one.fill(9, kinds=("a",))
    size = one.files()[0].nbytes
    options = cfg.Lake(path=str(one.root), compact=cfg.Compaction(min_files=2, target_bytes=cfg.Bytes(3 * size)))
    groups = Compactor(with_lake(one.pipeline, compact=options.compact), one.place, one.ledger).plan()
    assert [len(group.files) for group in groups] == [3, 3, 3]
    assert [file.id for group in groups for file in group.files] == sorted(file.id for file in one.files())


def test_foreign_file_is_never_merged_nor_lost(lake: MakeLake) -> None:
    one = lake()
    one.fill(3, kinds=("a",))
    foreign = one.root / "kind=a" / "mine.parquet"
    pq.write_table(pq.read_table(next((one.root / "kind=a").iterdir()), partitioning=None), foreign)
    before = foreign.read_bytes()
    (one.root / "kind=a" / "notes").mkdir()
    (one.root / "kind=a" / "notes" / "read.me").write_text("mine")
    (done,) = one.compact()
    assert done.files_before == 3
    assert foreign.read_bytes() == before
    assert (one.root / "kind=a" / "notes" / "read.me").read_text() == "mine"
    one.fill(3, kinds=("b",))
    (one.root / "kind=b" / "mine.txt").write_text("mine")
    one.compact()
    assert (one.root / "kind=b" / "mine.txt").read_text() == "mine"
    assert len(one.on_disk("kind=b")) == 2


def test_file_that_is_not_settled_waits(lake: MakeLake) -> None:
    one = lake()
    one.fill(2, kinds=("a",))
    one.roll([{"id": 99, "kind": "a", "amount": "1"}], settled=False)
    (done,) = one.compact()
    assert done.files_before == 2
    one.settle()
    assert one.ids() == [*range(1, 9), 99]


def test_damaged_file_is_named_and_left_as_it_is(lake: MakeLake) -> None:
    one = lake()
    one.fill(3, kinds=("a",))
    damaged = one.root / one.files()[1].key
    damaged.write_bytes(damaged.read_bytes()[:-1])
    (done,) = one.compact()
    assert done.files_before == 2
    assert [said for said in done.unreadable if damaged.name in said]
    assert damaged.exists()


def test_rows_of_a_group_are_sorted_and_types_kept(lake: MakeLake) -> None:
    one = lake({"id": "int8", "kind": "text", "amount": "numeric(10,2)", "at": "timestamptz", "tags": "text[]"})
    for n in (3, 1, 2):
        one.roll([{"id": n, "kind": "a", "amount": f"{n}.10", "at": "2026-01-05T10:00:00Z", "tags": ["x", None]}])
    before = pq.ParquetFile(one.root / one.files()[0].key).schema_arrow
    one.compact()
    (file,) = one.files()
    parquet = pq.ParquetFile(one.root / file.key)
    assert parquet.schema_arrow.equals(before, check_metadata=True)
    assert parquet.read().column("id").to_pylist() == [1, 2, 3]
    assert parquet.metadata.row_group(0).sorting_columns


def test_files_of_an_older_contract_are_widened_with_nulls(lake: MakeLake, url: str) -> None:
    one = lake({"id": "int8", "kind": "text"}, sort_by=[])
    one.roll([{"id": 1, "kind": "a"}])
    newer = SmallLake(url, lake_pipeline(one.root, {"id": "int8", "kind": "text", "note": "text"}, sort_by=[]))
    newer.rows = one.rows
    newer.roll([{"id": 2, "kind": "a", "note": "new"}])
    newer.compact()
    (file,) = newer.files()
    assert pq.ParquetFile(one.root / file.key).read().to_pylist() == [
        {"id": 1, "kind": "a", "note": None},
        {"id": 2, "kind": "a", "note": "new"},
    ]
    newer.close()


def test_files_whose_columns_differ_in_type_are_not_merged(lake: MakeLake, url: str) -> None:
    one = lake({"id": "int8", "kind": "text"}, sort_by=[])
    one.roll([{"id": 1, "kind": "a"}])
    other = SmallLake(url, lake_pipeline(one.root, {"id": "text", "kind": "text"}, sort_by=[]))
    other.rows = one.rows
    other.roll([{"id": "x", "kind": "a"}])
    (done,) = other.compact()
    assert (done.files_before, len(other.files())) == (0, 2)
    other.close()


def test_newest_row_decides_about_the_age_of_a_merged_file(lake: MakeLake) -> None:
    one = lake()
    one.fill(3, kinds=("a",))
    newest = max(file.committed_at for file in one.files() if file.committed_at)
    one.compact()
    (file,) = one.files()
    assert file.committed_at == newest
