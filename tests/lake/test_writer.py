"""What the writer has in memory, in open files and in sealed ones is always all that was added, once."""

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.batch import Rows, Tile
from ingestd.errors import Retryable
from ingestd.lake.places.local import LocalPlace
from ingestd.lake.writing.footer import NoFooter, read_footer
from ingestd.lake.writing.writer import LakeWriter
from tests.lake.lakes import MemoryManifest, of_partitions, pipeline, roll, rows_of

COLUMNS = (("d", "text"), ("n", "int8"), ("pad", "text"))


class CountingPlace(LocalPlace):
    """Counts files as they are made, and looks how many are open at once."""

    def __init__(self, path: str):
        super().__init__(path)
        self.made = self.most_open = 0

    def scratch(self, key: str) -> Path:
        found = super().scratch(key)
        self.made += 1
        links = (os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
        self.most_open = max(self.most_open, sum(link.endswith(".parquet.staged") for link in links))
        return found


def batch(directories: list[str], start: int = 0, pad: int = 0) -> pa.RecordBatch:
    """One row for each directory, numbered from `start`."""
    numbers = range(start, start + len(directories))
    texts = (pa.array(directories, pa.string()), pa.array(["x" * pad] * len(directories), pa.string()))
    return pa.record_batch({"d": texts[0], "n": pa.array(numbers, pa.int64()), "pad": texts[1]})


def writer_at(path: Path, partitions: tuple[int, ...] = (0,), **lake: Any) -> LakeWriter:
    writer = LakeWriter(pipeline(path, *COLUMNS, **lake), LocalPlace(str(path)), "t")
    for partition in partitions:
        writer.begin(partition, 0, 1)
    return writer


def read(path: Path) -> list[tuple[str, int]]:
    """(directory, number) of all rows that a plain glob finds, by number."""
    found: list[tuple[str, int]] = []
    for file in path.rglob("*.parquet"):
        table = pq.read_table(file, partitioning=None)
        found += zip(table.column("d").to_pylist(), table.column("n").to_pylist(), strict=True)
        assert all(file.parent.name == f"d={directory}" for directory in table.column("d").to_pylist())
    return sorted(found, key=lambda row: row[1])


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    buffer=st.sampled_from([1, 5_000, 10**8]),
    most_open=st.sampled_from([1, 3, 64]),
    by_d=st.booleans(),
)
def test_every_row_is_in_one_file_of_its_directory(
    tmp_path_factory: pytest.TempPathFactory, seed: int, buffer: int, most_open: int, by_d: bool
) -> None:
    path, rng = tmp_path_factory.mktemp("lake"), random.Random(seed)
    place, manifest = CountingPlace(str(path)), MemoryManifest()
    sort_by = ["pad", "n"] if by_d else []
    of = pipeline(path, *COLUMNS, partition_by=["d"], sort_by=sort_by, buffer=buffer, max_open_files=most_open)
    writer = LakeWriter(of, place, "t")
    at = {0: 0, 1: 0}
    expected: list[tuple[str, int]] = []
    for partition in at:
        writer.begin(partition, 0, 1)
    for _ in range(rng.randrange(1, 5)):
        parts = []
        for partition in rng.sample([0, 1], rng.randrange(1, 3)):
            directories = [f"k{rng.randrange(rng.choice([1, 3, 12]))}" for _ in range(rng.randrange(60))]
            parts.append(rows_of(batch(directories, len(expected)), at[partition], partition))
            at[partition] += len(directories)
            expected += [(directory, len(expected) + n) for n, directory in enumerate(directories)]
        writer.add(of_partitions(*parts))
        assert writer.open_rows == len(expected) - sum(file.rows for file in manifest.all)
        if rng.random() < 0.3:
            sealed = roll(writer, place, manifest, partition := rng.choice([0, 1]))
            assert sealed.tile.end == at[partition]
    for partition in at:
        roll(writer, place, manifest, partition)
    assert read(path) == expected
    assert place.most_open <= most_open
    assert not list(place.list("_staging"))


def test_the_manifest_says_of_a_file_what_is_in_it(tmp_path: Path) -> None:
    place, manifest = LocalPlace(str(tmp_path)), MemoryManifest()
    writer = writer_at(tmp_path, partition_by=["d"])
    writer.add(rows_of(batch(["a", "b", "a"])))
    sealed = roll(writer, place, manifest)
    assert sealed.tile == Tile(0, 0, 3)
    assert [(file.directory, file.rows, file.start, file.end) for file in sealed.files] == [
        ("d=a", 2, 0, 3),
        ("d=b", 1, 0, 3),
    ]
    for file in sealed.files:
        whole = (tmp_path / file.key).read_bytes()
        length = int.from_bytes(whole[-8:-4], "little") + 8
        assert (len(whole), hashlib.sha256(whole[-length:]).hexdigest()) == (file.nbytes, file.footer)
        assert file.staged.startswith("_staging/p/t-0/t-0-0-e1-") and file.staged.endswith(".parquet.staged")


def test_row_groups_are_sorted_and_say_so_and_pages_have_an_index(tmp_path: Path) -> None:
    place, manifest = LocalPlace(str(tmp_path)), MemoryManifest()
    writer = writer_at(tmp_path, sort_by=["pad", "n"])
    numbers = list(range(1_000))
    random.Random(1).shuffle(numbers)
    columns = pa.record_batch(
        {"d": ["a"] * 1_000, "n": numbers, "pad": [None if n % 7 == 0 else f"{n % 3}" for n in numbers]}
    )
    writer.add(rows_of(columns))
    (file,) = roll(writer, place, manifest).files
    stored = pq.ParquetFile(tmp_path / file.key)
    group = stored.metadata.row_group(0)
    assert [(key.column_index, key.descending, key.nulls_first) for key in group.sorting_columns] == [
        (2, False, False),
        (1, False, False),
    ]
    chunk = group.column(1)
    assert (chunk.compression, chunk.has_column_index, chunk.has_offset_index) == ("ZSTD", True, True)
    assert (chunk.statistics.min, chunk.statistics.max) == (0, 999)
    rows = stored.read().to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["pad"] is None, row["pad"] or "", row["n"]))


def test_values_that_seldom_repeat_have_no_dictionary(tmp_path: Path) -> None:
    writer = writer_at(tmp_path)
    writer.add(rows_of(batch(["a"] * 5_000)))
    (file,) = roll(writer, LocalPlace(str(tmp_path)), MemoryManifest()).files
    group = pq.ParquetFile(tmp_path / file.key).metadata.row_group(0)
    assert [group.column(n).has_dictionary_page for n in range(3)] == [True, False, True]


def test_rows_that_leave_a_gap_are_refused(tmp_path: Path) -> None:
    writer = writer_at(tmp_path)
    writer.add(rows_of(batch(["a"]), 0))
    for start in (0, 2):
        with pytest.raises(ValueError, match="the open tile ends at 1"):
            writer.add(rows_of(batch(["a"]), start))
    with pytest.raises(ValueError, match="partition 5"):
        writer.add(rows_of(batch(["a"]), 0, partition=5))
    writer.seal(0)
    with pytest.raises(ValueError):
        writer.add(rows_of(batch(["a"]), 1))


def test_a_tile_without_rows_commits_without_files_and_the_next_begins_behind_it(tmp_path: Path) -> None:
    writer = writer_at(tmp_path, roll={"max_age": 60})
    writer.add(Rows([Tile(0, 0, 7)], batch([]), [], [], 0))
    assert not writer.has_rows(0)
    assert writer.due(0) == []
    sealed = writer.seal(0)
    assert (sealed.tile, sealed.files) == (Tile(0, 0, 7), [])
    writer.committed(0)
    writer.add(rows_of(batch(["a"]), 7))
    assert writer.has_rows(0)
    assert list((tmp_path).glob("**/*.staged")) == []


@pytest.mark.parametrize("limit", [{"max_rows": 3}, {"max_bytes": 1}])
def test_a_roll_is_due_by_rows_and_bytes(tmp_path: Path, limit: dict[str, int]) -> None:
    writer = writer_at(tmp_path, (0, 1), roll={"max_age": 1e9, **limit})
    assert writer.due(0) == []
    writer.add(rows_of(batch(["a"] * 3)))
    assert writer.due(0) == [0]


def test_a_roll_is_due_by_the_age_of_the_oldest_record_also_without_rows(tmp_path: Path) -> None:
    now = [100.0]
    of = pipeline(tmp_path, *COLUMNS, roll={"max_age": 60})
    writer = LakeWriter(of, LocalPlace(str(tmp_path)), "t", clock=lambda: now[0])
    writer.begin(0, 0, 1)
    writer.add(Rows([Tile(0, 0, 7)], batch([]), [], [], 0))
    now[0] = 150.0
    writer.add(rows_of(batch(["a"]), 7))
    assert (writer.due(159.9), writer.due(160.0)) == ([], [0])
    writer.seal(0)
    writer.committed(0)
    assert writer.due(1e9) == []


def test_what_was_discarded_is_gone_but_sealed_files_stay(tmp_path: Path) -> None:
    writer = writer_at(tmp_path, (0, 1), buffer=1)
    writer.add(rows_of(batch(["a"])))
    sealed = writer.seal(0)
    writer.add(rows_of(batch(["b"]), partition=1))
    staged = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("**/*.staged")}
    assert len(staged) == 2
    writer.discard()
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("**/*.staged")}
    assert left == {file.staged for file in sealed.files}, "its commit may have arrived"
    assert (writer.open_rows, writer.open_bytes) == (0, 0)
    writer.begin(0, 0, 2)
    writer.begin(1, 0, 2)
    writer.add(rows_of(batch(["a"])))


def test_begin_does_not_lose_open_rows(tmp_path: Path) -> None:
    writer = writer_at(tmp_path)
    writer.add(rows_of(batch(["a"])))
    with pytest.raises(ValueError, match="1 open rows"):
        writer.begin(0, 1, 2)


def test_a_file_that_was_cut_has_no_footer(tmp_path: Path) -> None:
    path = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"n": [1, 2]}), path)
    whole = path.read_bytes()
    assert read_footer(pa.BufferReader(whole)).rows == 2
    for size in range(len(whole)):
        with pytest.raises(NoFooter):
            read_footer(pa.BufferReader(whole[:size]))
    broken = whole[:-20] + b"\xff" * 12 + whole[-8:]
    with pytest.raises(NoFooter):
        read_footer(pa.BufferReader(broken))


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    class FullPlace(LocalPlace):
        def scratch(self, key: str) -> Path:
            link = tmp_path / "full"
            link.symlink_to("/dev/full")
            return link

    writer = LakeWriter(pipeline(tmp_path, *COLUMNS, buffer=1), FullPlace(str(tmp_path)), "t")
    writer.begin(0, 0, 1)
    with pytest.raises(Retryable, match="the disk is full; free some space"):
        writer.add(rows_of(batch(["a"] * 1_000, pad=1)))
    writer.discard()
    assert "/dev/full" not in {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
    assert not (tmp_path / "full").is_symlink()


def test_redriven_rows_are_staged_apart_and_never_under_a_name_twice(tmp_path: Path) -> None:
    of, place, names = pipeline(tmp_path, *COLUMNS), LocalPlace(str(tmp_path)), set()
    for _ in range(3):
        writer = LakeWriter(of, place, "t", made_by="redrive")
        writer.begin(0, 5, 1)
        writer.add(rows_of(batch(["a"]), 5))
        (file,) = writer.seal(0).files
        assert file.made_by == "redrive" and file.staged.startswith("_staging/p/redrive/")
        names.add(file.name)
        writer.discard()
    assert len(names) == 3


def test_memory_stays_bounded_with_thousands_of_directories(tmp_path: Path) -> None:
    buffer = 2**19
    writer = writer_at(tmp_path, partition_by=["d"], buffer=buffer, max_open_files=8)
    before, most = pa.total_allocated_bytes(), 0
    for at in range(0, 15_000, 2_500):
        writer.add(rows_of(batch([f"k{n % 200}" for n in range(2_500)], at, pad=100), at))
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 2 * buffer
    assert writer.open_rows == 15_000
    writer.discard()


def test_sums_are_checked_before_a_tile_is_sealed(tmp_path: Path) -> None:
    writer = writer_at(tmp_path)
    writer.add(rows_of(batch(["a", "b"])))
    writer._tiles[0].rows += 1
    with pytest.raises(AssertionError, match="2 rows of 3"):
        writer.seal(0)
    writer.discard()
