"""What the manifest promises in every store, on a real server and in a real file."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ingestd.batch import Tile
from ingestd.config import options as cfg
from ingestd.errors import LeaseLost
from ingestd.stores.faults import RowsRefused
from ingestd.stores.manifest import COMMITTED, LAKE_GROUP, LakeFile, Manifest
from ingestd.stores.open import open_manifest, open_replaced_files, open_store
from ingestd.stores.store import LedgerKey, Store
from tests.lake.stores import Ask, lake_file

PIPELINE = cfg.Pipeline(name="p", topic="orders", lake=cfg.Lake(path="lake"))
MakeStore = Callable[[], Store]


@pytest.fixture
def options(url: str) -> cfg.Store:
    return cfg.Store(url=url, lock_timeout=cfg.Secs(5))


@pytest.fixture
def manifest(options: cfg.Store, store: Store) -> Manifest:
    made = open_manifest(options, PIPELINE)
    made.prepare(store.open())
    return made


@pytest.fixture
def store(options: cfg.Store) -> Iterator[Store]:
    """The lake group's store; its ledger is there."""
    made = open_store(options, LedgerKey("p", "orders", LAKE_GROUP))
    made.prepare()
    yield made
    made.close()


def _add(store: Store, manifest: Manifest, *files: LakeFile) -> list[LakeFile]:
    """The manifest afterwards."""
    with store.side_transaction() as tx:
        manifest.add(tx.cursor, files)
    return manifest.files(store.open())


def test_tables_are_made_once_and_the_lake_keeps_its_id(store: Store, options: cfg.Store, manifest: Manifest) -> None:
    first = manifest.lake_id(store.open(), "lake")
    manifest.prepare(store.open())
    again = open_manifest(options, PIPELINE)
    assert again.lake_id(store.open(), "elsewhere") == again.lake_id(store.open(), "elsewhere") == first
    other = open_manifest(options, cfg.Pipeline(name="q", topic="orders"))
    assert other.lake_id(store.open(), "lake") != first


def test_files_come_back_as_they_went_in(store: Store, manifest: Manifest) -> None:
    wanted = [lake_file(0, 10), lake_file(10, 12, partition=None, made_by="compaction", directory="", state="settled")]
    found = _add(store, manifest, *wanted)
    assert [file.id for file in found] == sorted({file.id for file in found})
    now = datetime.now(UTC)
    for file, before in zip(found, wanted, strict=True):
        assert file.committed_at is not None
        assert abs(now - file.committed_at) < timedelta(hours=1)
        assert [getattr(file, name) for name in LakeFile.__struct_fields__ if name not in ("id", "committed_at")] == [
            getattr(before, name) for name in LakeFile.__struct_fields__ if name not in ("id", "committed_at")
        ]


def test_files_and_cursor_commit_together_or_not_at_all(store: Store, manifest: Manifest, ask: Ask) -> None:
    (lease,) = store.claim([0], lambda new, first: {p: (0, "id") for p in new})
    with store.transaction([Tile(0, 0, 10)], {0: lease.epoch}) as tx:
        manifest.add(tx.cursor, [lake_file(0, 10)])
    with pytest.raises(LeaseLost), store.transaction([Tile(0, 10, 20)], {0: lease.epoch - 1}) as tx:
        manifest.add(tx.cursor, [lake_file(10, 20)])
    assert [(file.start, file.end) for file in manifest.files(store.open())] == [(0, 10)]
    assert ask("SELECT sink_group, next_offset FROM LEDGER.cursors") == [("lake", 10)]


def test_only_files_that_are_not_settled_are_to_be_settled(store: Store, manifest: Manifest) -> None:
    first, second, other = _add(
        store, manifest, lake_file(0, 10), lake_file(10, 20), lake_file(0, 5, partition=1, topic="returns", name="x")
    )
    manifest.mark_settled(store.open(), [first.id])
    assert manifest.unsettled(store.open(), "orders", [0, 1]) == [second]
    assert manifest.unsettled(store.open(), "returns", [0]) == []
    assert manifest.unsettled(store.open(), "", []) == [second, other]
    assert [file.state for file in manifest.files(store.open())] == ["settled", COMMITTED, COMMITTED]


def test_replaced_files_are_no_part_of_the_lake_and_count_once(
    store: Store, options: cfg.Store, manifest: Manifest
) -> None:
    first, second, third = _add(store, manifest, lake_file(0, 10), lake_file(10, 20), lake_file(20, 30))
    with store.side_transaction() as tx:
        assert manifest.replace(tx.cursor, [first.id, second.id]) == 2
        assert manifest.replace(tx.cursor, [first.id]) == 0
    manifest.mark_settled(store.open(), [first.id])
    assert [file.id for file in manifest.files(store.open())] == [third.id]
    replaced = open_replaced_files(options, PIPELINE)
    assert [file.id for file in replaced.waiting(store.open(), 0)] == [first.id, second.id]
    assert replaced.waiting(store.open(), 3600) == []
    replaced.mark_removed(store.open(), [first.id, third.id])
    assert [file.id for file in replaced.waiting(store.open(), 0)] == [second.id]


def test_one_place_in_the_lake_is_never_named_by_two_files(store: Store, manifest: Manifest) -> None:
    (first,) = _add(store, manifest, lake_file(0, 10))
    with pytest.raises(RowsRefused, match="23505"):
        _add(store, manifest, lake_file(0, 10))
    with store.side_transaction() as tx:
        manifest.replace(tx.cursor, [first.id])
        manifest.add(tx.cursor, [lake_file(0, 10, directory="x" * 9_000)])
        manifest.add(tx.cursor, [lake_file(0, 10)])
    assert len(manifest.files(store.open())) == 2


def test_age_is_that_of_the_newest_row(store: Store, manifest: Manifest) -> None:
    old = datetime.now(UTC) - timedelta(hours=2)
    _add(store, manifest, lake_file(0, 10), lake_file(10, 20, name="merged.parquet", committed_at=old))
    assert [file.start for file in manifest.files(store.open(), 3600)] == [10]


def test_pipelines_do_not_see_each_others_files(store: Store, options: cfg.Store, manifest: Manifest) -> None:
    (mine,) = _add(store, manifest, lake_file(0, 10))
    other = open_manifest(options, cfg.Pipeline(name="q", topic="orders"))
    with store.side_transaction() as tx:
        assert other.replace(tx.cursor, [mine.id]) == 0
    other.mark_settled(store.open(), [mine.id])
    assert other.files(store.open()) == other.unsettled(store.open(), "", []) == []
    assert manifest.unsettled(store.open(), "orders", [0]) == [mine]
