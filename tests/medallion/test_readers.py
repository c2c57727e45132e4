"""Who reads current while it is merged sees one version, whole, or an error: never a mixture, never a part."""

import threading
from collections.abc import Callable
from pathlib import Path

import duckdb

from ingestd.config import options as cfg
from tests.medallion.conftest import Made
from tests.medallion.source import Customers, Runs

ROWS = 40
MERGES = 5


def test_a_reader_in_a_loop_never_sees_two_versions(tmp_path: Path, runs: Runs, make: Callable[..., Made]) -> None:
    source = Customers()
    for number in range(ROWS):
        source.create(number, name="0")
    runs.past(source.take())
    options = {"bucket_bytes": cfg.Bytes(512)}
    make(**options)
    seen: list[tuple[int, int, str]] = []
    errors: list[str] = []
    done = threading.Event()

    def read() -> None:
        connection = duckdb.connect()
        query = f"SELECT count(*), count(DISTINCT name), any_value(name) FROM '{tmp_path}/current/**/*.parquet'"
        while not done.is_set():
            try:
                (row,) = connection.execute(query).fetchall()
                seen.append(row)
            except duckdb.Error as error:
                errors.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for step in range(1, MERGES + 1):
            for number in range(ROWS):
                source.update(number, name=f"{step}")
            runs.past(source.take())
            make(**options)
    finally:
        done.set()
        reader.join()
    assert {row[:2] for row in seen} == {(ROWS, 1)}
    assert len({row[2] for row in seen}) > 1
    assert all("No such file" in error or "No files found" in error or "Cannot open" in error for error in errors), (
        errors
    )
