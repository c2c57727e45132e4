"""Compaction of a lake in a bucket: the manifest changes at once, objects go when nobody reads them any more."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ingestd.accounting.lake import verify_lake
from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.lake.merging.cleaning import remove_replaced
from ingestd.lake.reading.readable import readable
from ingestd.stores.manifest import LakeFile
from tests.lake.small import SmallLake, lake_pipeline

# The first one may build the object store.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def lake(s3_url: str, tmp_path: Path) -> Iterator[SmallLake]:
    pipeline = lake_pipeline(s3_url, compact={"min_files": 2, "readers": "manifest"})
    one = SmallLake(f"sqlite:///{tmp_path}/ledger.db", pipeline)
    one.fill(3)
    yield one
    one.close()


def _rows(lake: SmallLake) -> list[int]:
    """Through the manifest."""
    found: list[int] = []
    for key in readable(lake.place, lake.files()).keys:
        with closing(lake.place.read(key)) as file:
            found += pq.ParquetFile(file).read().column("id").to_pylist()
    return sorted(found)


def _problems(lake: SmallLake) -> list[str]:
    kafka = cfg.Kafka(bootstrap_servers="x", group_id="g")
    config = cfg.Config(kafka=kafka, store=lake.options, pipeline=(lake.pipeline,))
    return verify_lake(config, [lake.pipeline], deep=True).problems


def _keys(lake: SmallLake, below: str = "") -> list[str]:
    return sorted(found.key for found in lake.place.list(below))


def test_manifest_is_swapped_and_old_objects_wait(lake: SmallLake) -> None:
    (done,) = lake.compact()
    assert (done.files_before, done.files_after) == (6, 2)
    assert _rows(lake) == list(range(1, 25))
    assert len(_keys(lake)) == 8
    assert _keys(lake, "_staging") == []
    assert _problems(lake) == []
    assert lake.ledger.lock.take() is None
    assert remove_replaced(lake.place, lake.ledger, 600) == 0
    assert remove_replaced(lake.place, lake.ledger, 0) == 6
    assert _keys(lake) == sorted(file.key for file in lake.files())
    assert _problems(lake) == []


def test_what_was_committed_is_shown_by_the_next_run(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise Retryable("the bucket is away")

    compactor = lake.compactor()
    groups = compactor.plan()
    assert lake.ledger.lock.take() is None
    with monkeypatch.context() as patched:
        patched.setattr(type(lake.place), "publish", fail)
        with pytest.raises(Retryable):
            compactor.run(groups)
    assert [file.state for file in lake.files()] == ["committed", "committed"]
    assert _rows(lake) == list(range(1, 25))
    lake.compactor().recover()
    lake.ledger.lock.release()
    assert [file.state for file in lake.files()] == ["settled", "settled"]
    assert _rows(lake) == list(range(1, 25))
    assert _keys(lake, "_staging") == []


def test_what_was_not_committed_is_removed_by_the_next_run(lake: SmallLake, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Retryable("the store is away")

    before: list[LakeFile] = lake.files()
    assert lake.ledger.lock.take() is None
    compactor = lake.compactor()
    with monkeypatch.context() as patched:
        patched.setattr(type(lake.manifest), "add", fail)
        with pytest.raises(Retryable):
            compactor.run(compactor.plan())
    assert len(_keys(lake, "_staging")) == 2
    lake.compactor().recover()
    lake.ledger.lock.release()
    assert _keys(lake, "_staging") == []
    assert lake.files() == before
    assert _rows(lake) == list(range(1, 25))
