"""What is committed is published once, what is not is removed, and neither is ever taken for the other."""

from pathlib import Path

import pytest
from msgspec import structs

from ingestd.errors import Halt, Retryable
from ingestd.lake.identity import check_identity
from ingestd.lake.open import open_place
from ingestd.lake.places.local import LocalPlace
from ingestd.lake.places.turns import alone
from ingestd.lake.settle import remove_leftovers, settle
from ingestd.lake.writing.writer import LakeWriter, Sealed
from ingestd.stores.manifest import SETTLED
from tests.lake.lakes import MemoryManifest, pipeline, rows_of
from tests.lake.test_writer import COLUMNS, batch


def sealed_tile(path: Path, start: int = 0, epoch: int = 1, made_by: str = "roll") -> Sealed:
    """One sealed file of one row in each of the directories a and b."""
    writer = LakeWriter(pipeline(path, *COLUMNS, partition_by=["d"]), LocalPlace(str(path)), "t", made_by=made_by)
    writer.begin(0, start, epoch)
    writer.add(rows_of(batch(["a", "b"]), start))
    return writer.seal(0)


def final(path: Path) -> set[str]:
    return {file.relative_to(path).as_posix() for file in path.rglob("*.parquet")}


class DyingPlace(LocalPlace):
    """Fails at the publication of one directory's file, before or after it."""

    def __init__(self, path: str, directory: str, after: bool):
        super().__init__(path)
        self._directory, self._after = directory, after

    def publish(self, staged: str, key: str) -> bool:
        dies = key.startswith(self._directory)
        found = super().publish(staged, key) if self._after or not dies else False
        if dies:
            raise Retryable("killed")
        return found


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("directory", ["d=a", "d=b"])
def test_settling_that_was_cut_off_is_finished_by_another(tmp_path: Path, directory: str, after: bool) -> None:
    manifest, files = MemoryManifest(), sealed_tile(tmp_path).files
    manifest.add(None, files)
    with pytest.raises(Retryable):
        settle(DyingPlace(str(tmp_path), directory, after), manifest, None, manifest.unsettled(None, "t", [0]))
    assert any(key.startswith(directory) for key in final(tmp_path)) is after
    assert len(manifest.unsettled(None, "t", [0])) == 2, "none is marked before all are there"
    assert settle(LocalPlace(str(tmp_path)), manifest, None, manifest.unsettled(None, "t", [0]))
    assert final(tmp_path) == {file.key for file in files}
    assert {file.state for file in manifest.all} == {SETTLED}


def test_two_hosts_may_settle_the_same_files(tmp_path: Path) -> None:
    manifest = MemoryManifest()
    manifest.add(None, sealed_tile(tmp_path).files)
    waiting = manifest.unsettled(None, "t", [0])
    for _ in range(2):
        assert settle(LocalPlace(str(tmp_path)), manifest, None, waiting)
    assert final(tmp_path) == {file.key for file in waiting}


def test_settling_waits_while_directories_are_exchanged(tmp_path: Path) -> None:
    manifest, place = MemoryManifest(), LocalPlace(str(tmp_path))
    manifest.add(None, sealed_tile(tmp_path).files)
    with alone(place) as got:
        assert got and not settle(LocalPlace(str(tmp_path)), manifest, None, manifest.unsettled(None, "t", [0]))
    assert final(tmp_path) == set()
    assert settle(place, manifest, None, manifest.unsettled(None, "t", [0]))


def test_a_committed_file_that_is_nowhere_halts_and_is_named(tmp_path: Path) -> None:
    manifest, files = MemoryManifest(), sealed_tile(tmp_path).files
    manifest.add(None, files)
    (tmp_path / files[0].staged).unlink()
    with pytest.raises(Halt, match=files[0].name) as halted:
        settle(LocalPlace(str(tmp_path)), manifest, None, manifest.unsettled(None, "t", [0]))
    assert halted.value.partitions == (0,)
    assert final(tmp_path) == {files[1].key}, "the others are settled"


def test_a_file_that_compaction_replaced_meanwhile_is_no_loss(tmp_path: Path) -> None:
    manifest, place = MemoryManifest(), LocalPlace(str(tmp_path))
    manifest.add(None, sealed_tile(tmp_path).files)
    waiting = manifest.unsettled(None, "t", [0])
    settle(place, manifest, None, waiting)
    manifest.replace(None, [waiting[0].id])
    place.remove(waiting[0].key)
    assert settle(place, manifest, None, waiting)
    assert [file.state for file in manifest.all] == ["replaced", "settled"]


def test_leftovers_go_but_committed_files_and_those_of_later_claims_stay(tmp_path: Path) -> None:
    manifest, place = MemoryManifest(), LocalPlace(str(tmp_path))
    lost, kept, later = (sealed_tile(tmp_path, start, epoch).files for start, epoch in ((0, 1), (0, 2), (2, 4)))
    manifest.add(None, kept)
    other = "_staging/p/t-01/t-01-0-e1-0.parquet.staged"
    foreign = "_staging/p/t-0/notes.txt"
    for key in (other, foreign):
        place.seal(place.scratch(key), key)
    assert remove_leftovers(place, manifest, None, "p", "t", {0: 3}) == 2
    staged = {found.key for found in place.list("_staging")}
    assert staged == {file.staged for file in [*kept, *later]} | {other, foreign}
    assert not {file.staged for file in lost} & staged
    assert remove_leftovers(place, manifest, None, "p", "t", {0: 3, 7: 1}) == 0


def test_redriven_rows_of_another_process_outlive_a_claim(tmp_path: Path) -> None:
    manifest, place = MemoryManifest(), LocalPlace(str(tmp_path))
    files = sealed_tile(tmp_path, made_by="redrive").files
    assert remove_leftovers(place, manifest, None, "p", "t", {0: 9}) == 0
    manifest.add(None, files)
    assert settle(place, manifest, None, manifest.unsettled(None, "t", [0]))


def test_a_new_root_gets_the_ledgers_id_and_keeps_it(tmp_path: Path) -> None:
    place, manifest = LocalPlace(str(tmp_path / "new")), MemoryManifest()
    for _ in range(2):
        check_identity(place, manifest, None)
    assert place.identity("") == manifest.lake


def test_the_root_of_another_ledger_halts(tmp_path: Path) -> None:
    place = LocalPlace(str(tmp_path))
    check_identity(place, MemoryManifest("aaaa"), None)
    with pytest.raises(Halt, match=r"is lake aaaa, but the ledger knows bbbb"):
        check_identity(place, MemoryManifest("bbbb"), None)


def test_an_empty_root_halts_when_the_ledger_knows_files(tmp_path: Path) -> None:
    """A disk that is not mounted must not become a new lake."""
    manifest = MemoryManifest()
    manifest.add(None, [structs.replace(file, state=SETTLED) for file in sealed_tile(tmp_path / "a").files])
    place = LocalPlace(str(tmp_path / "b"))
    with pytest.raises(Halt, match=r"the ledger knows 2 files.*mount or restore"):
        check_identity(place, manifest, None)
    assert not (tmp_path / "b").exists()


def test_a_root_with_other_files_halts(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(Halt, match="not empty and no lake"):
        check_identity(LocalPlace(str(tmp_path)), MemoryManifest(), None)


def test_a_path_opens_the_place_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    of = pipeline("lake/x", *COLUMNS)
    assert of.lake is not None
    place = open_place(of.lake)
    assert isinstance(place, LocalPlace) and place.url == str(tmp_path / "lake/x")
