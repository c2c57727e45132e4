"""One file for every value of the first partition, beside a lake whose files stay as they are."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.merging.cleaning import expire, remove_replaced
from ingestd.lake.merging.into import COMPACTED, IntoOne
from ingestd.stores.manifest import LakeFile
from tests.lake.small import SmallLake, lake_pipeline, with_lake


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Iterator[SmallLake]:
    one = SmallLake(url, lake_pipeline(tmp_path / "lake", compact={"into": str(tmp_path / "compacted")}))
    one.fill(3)
    yield one
    one.close()


def _all(_value: str, _files: list[LakeFile]) -> bool:
    return True


def _into(lake: SmallLake) -> IntoOne:
    return IntoOne(lake.pipeline, lake.place, lake.ledger)


def _make(lake: SmallLake) -> list[str]:
    units = _into(lake).plan(_all)
    for unit in units:
        _into(lake).make(unit)
    return [unit.directory for unit in units]


def _ids(path: Path) -> list[int]:
    found: list[int] = pq.ParquetFile(path).read().column("id").to_pylist()
    return found


def test_every_finished_value_becomes_one_file_in_the_order_of_offsets(lake: SmallLake, tmp_path: Path) -> None:
    before = lake.on_disk()
    assert _make(lake) == ["kind=a", "kind=b"]
    assert _ids(tmp_path / "compacted" / "kind=a" / COMPACTED) == [1, 2, 3, 4, 9, 10, 11, 12, 17, 18, 19, 20]
    assert lake.on_disk() == before
    assert {path.name for path in (tmp_path / "compacted").iterdir()} == {"kind=a", "kind=b"}


def test_it_is_made_once_and_again_when_files_were_added(lake: SmallLake, tmp_path: Path) -> None:
    _make(lake)
    assert _make(lake) == []
    lake.fill(1, kinds=("a",))
    assert _make(lake) == ["kind=a"]
    assert len(_ids(tmp_path / "compacted" / "kind=a" / COMPACTED)) == 16


def test_it_is_made_again_when_it_was_deleted_or_cut(lake: SmallLake, tmp_path: Path) -> None:
    _make(lake)
    (tmp_path / "compacted" / "kind=a" / COMPACTED).unlink()
    (tmp_path / "compacted" / "kind=b" / COMPACTED).write_bytes(b"PAR1")
    assert _make(lake) == ["kind=a", "kind=b"]


def test_rows_of_files_that_were_too_old_stay_in_it(lake: SmallLake, tmp_path: Path) -> None:
    _make(lake)
    assert lake.ledger.lock.take() is None
    expire(lake.place, lake.ledger, 0)
    remove_replaced(lake.place, lake.ledger, 0)
    assert _make(lake) == []
    assert len(_ids(tmp_path / "compacted" / "kind=a" / COMPACTED)) == 12


def test_values_that_may_get_more_files_wait(lake: SmallLake) -> None:
    units = _into(lake).plan(lambda value, _files: value == "b")
    assert [unit.directory for unit in units] == ["kind=b"]
    lake.roll([{"id": 99, "kind": "b", "amount": "1"}], settled=False)
    assert _into(lake).plan(lambda value, _files: value == "b") == []


def test_killed_in_the_middle_it_is_made_again(lake: SmallLake, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def kill(_rows: int) -> None:
        raise Killed

    (unit, *_) = _into(lake).plan(_all)
    left = tmp_path / "compacted" / "_staging" / "kind=a.parquet.staged"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with pytest.raises(Killed):
        IntoOne(lake.pipeline, lake.place, lake.ledger, kill).make(unit)
    assert not (tmp_path / "compacted" / "kind=a" / COMPACTED).exists()
    assert _make(lake) == ["kind=a", "kind=b"]


def test_it_is_never_written_into_the_lake_itself(lake: SmallLake) -> None:
    inside = with_lake(lake.pipeline, compact=cfg.Compaction(into=str(lake.root / "compacted")))
    with pytest.raises(Halt, match="in the lake itself"):
        IntoOne(inside, lake.place, lake.ledger).plan(_all)
