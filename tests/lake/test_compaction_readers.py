"""DuckDB reads while files are settled and merged: by plain glob and through the manifest, never a wrong number."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from ingestd.config import options as cfg
from ingestd.lake.reading.readable import Vanished, readable
from tests.lake.small import SmallLake, lake_pipeline, ledger_of, with_lake

Read = Callable[[], tuple[int, int]]
"""How many rows there are, and how many of them are different."""
_COUNT = "SELECT count(*), count(DISTINCT id) FROM read_parquet($files, hive_partitioning = false)"


class Reader(threading.Thread):
    """Reads again and again. Rows are numbered as they come, so that every answer can be judged by itself."""

    def __init__(self, read: Read, at_least: Callable[[], int], at_most: Callable[[], int]):
        super().__init__(daemon=True)
        self._read = read
        self._at_least, self._at_most = at_least, at_most
        self._ended = threading.Event()
        self.right = self.failed = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            least = self._at_least()
            try:
                rows, different = self._read()
            except (duckdb.Error, Vanished):
                self.failed += 1
                continue
            most = self._at_most()
            if rows != different or not least <= rows <= most:
                self.wrong.append(f"{rows} rows, {different} different, between {least} and {most}")
            self.right += 1

    def end(self) -> None:
        self._ended.set()
        self.join(60)


@pytest.fixture
def lake(url: str, tmp_path: Path) -> Iterator[SmallLake]:
    one = SmallLake(url, lake_pipeline(tmp_path / "lake"))
    yield one
    one.close()


def _glob(lake: SmallLake) -> Read:
    def read() -> tuple[int, int]:
        with duckdb.connect() as connection:
            connection.execute("SET threads = 2")
            found = connection.execute(_COUNT, {"files": f"{lake.root}/**/*.parquet"}).fetchone()
        assert found is not None
        return found[0], found[1]

    return read


def _manifest(lake: SmallLake) -> Read:
    def read() -> tuple[int, int]:
        ledger = ledger_of(lake.options, lake.pipeline)
        with contextlib.closing(ledger.store):
            now = readable(lake.place, ledger.manifest.files(ledger.store.open()))
        with duckdb.connect() as connection:
            files = [str(lake.root / key) for key in now.keys]
            found = connection.execute(_COUNT, {"files": files}).fetchone()
        assert found is not None
        return found[0], found[1]

    return read


def test_no_reader_gets_a_wrong_count_while_files_are_settled_and_merged(lake: SmallLake) -> None:
    shown = committed = 0
    lake.fill(4, rows=50)
    shown = committed = lake.rows
    readers = [
        Reader(_glob(lake), lambda: shown, lambda: committed),
        Reader(_manifest(lake), lambda: shown, lambda: committed),
    ]
    for reader in readers:
        reader.start()
    # What was merged is large enough to stay: every exchange has files that are not replaced.
    target = cfg.Bytes(int(2.2 * max(file.nbytes for file in lake.files())))
    pipeline = with_lake(lake.pipeline, compact=cfg.Compaction(min_files=3, target_bytes=target))
    merged = 0
    while min(reader.right for reader in readers) < 25 or merged < 8:
        for _ in range(3):
            committed += 100
            lake.fill(1, rows=50)
            shown = lake.rows
        merged += len(lake.compact(lake.compactor(pipeline)))
    for reader in readers:
        reader.end()
    assert [reader.wrong for reader in readers] == [[], []]
    assert max(len(lake.on_disk(f"kind={kind}")) for kind in "ab") > 3
    assert lake.ids() == lake.manifest_ids() == list(range(1, lake.rows + 1))
