"""One merge: new stage files and the touched files of a current table into new files. Knows no ledger and no lock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.errors import Halt, Retryable
from ingestd.lake.layout import encode
from ingestd.lake.places.faults import faults
from ingestd.medallion import merge_sql as sql
from ingestd.medallion.merge_sql import PLACE_COLUMNS, Shape, Source
from ingestd.stores.medallion import CurrentTable

_MOST_BUCKETS = 4096
_GROWTH = 4
"""Rows are put into other buckets when so many times more are wanted: that reads and writes all of them."""
_NAME = re.compile(r".*-b(?P<bucket>\d+)-v\d+\.parquet")
_STAGE_ONLY = ("_op", "_deleted", "_topic", "_absent")


class Result(Struct):
    """What a merge has made, and what it read for it."""

    buckets: int
    key_types: str
    rows: int = 0
    nbytes: int = 0
    stage_bytes: int = 0
    current_bytes: int = 0
    touched: int = 0
    missing: int = 0


class Merge:
    """Fills `made` with the files of the next version of one table."""

    def __init__(
        self,
        options: cfg.Medallion,
        work: Path,
        made: Path,
        before: CurrentTable,
        current: Path,
        tick: Callable[[], None],
    ):
        self._options = options
        self._work = work
        self._made = made
        self._before = before
        self._name = encode(before.table.encode(), 150)
        self._events = str(work / "spill" / "events.parquet")
        self._tick = tick
        self._old = _buckets_in(current) if before.version else {}

    def run(self, stage: Mapping[str, Sequence[Path]], eras: Mapping[str, int], key: tuple[str, ...]) -> Result:
        """Merge the stage files of these runs, by run, the oldest first. Raises: Halt, Retryable."""
        paths = [str(path) for run_id in reversed(list(stage)) for path in stage[run_id]]
        (self._work / "spill").mkdir(exist_ok=True)
        if not paths or not key:
            return self._unchanged()
        try:
            with self._connect() as connection:
                connection.execute("CREATE TABLE eras (run_id VARCHAR, era BIGINT)")
                connection.executemany("INSERT INTO eras VALUES (?, ?)", [(run_id, eras[run_id]) for run_id in stage])
                return self._merge(connection, paths, key)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise Retryable(f'table "{self._before.table}": {_first_line(error)}') from error
        except duckdb.Error as error:
            raise Halt(f'table "{self._before.table}" cannot be merged: {_first_line(error)}') from error

    def _connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(
            config={
                "memory_limit": f"{int(self._options.memory)}B",
                "threads": str(min(4, os.cpu_count() or 1)),
                "temp_directory": str(self._work / "spill"),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _merge(self, connection: duckdb.DuckDBPyConnection, stage: list[str], key: tuple[str, ...]) -> Result:
        since = _value(connection, sql.truncated(stage))
        old = {} if since is not None else self._old
        shape = _shape(connection, stage, list(self._old.values()), key)
        result = Result(self._buckets(stage), shape.key_types, stage_bytes=_nbytes(stage))
        whole = self._moved(connection, shape, result.buckets, old)
        self._tick()
        sources = _source(connection, stage), _source(connection, whole)
        connection.execute(sql.split(shape, *sources, result.buckets, since, self._events))
        touched = [row[0] for row in connection.execute(sql.touched(self._events)).fetchall()]
        absent = [row[0] for row in connection.execute(sql.absent_columns(self._events)).fetchall()]
        absent = [name for name in shape.names if name in absent and name not in shape.key]
        if whole:
            result.current_bytes, old = _nbytes(whole), {}
        result.touched = len(touched)
        for bucket in touched:
            self._tick()
            kept = old.pop(bucket, None)
            result.current_bytes += _nbytes([kept] if kept else [])
            connection.execute(sql.merge_bucket(shape, self._events, bucket, kept, absent))
            self._write(connection, shape, bucket, result)
        self._keep(connection, old, result)
        if not any(self._made.iterdir()):
            connection.execute(sql.empty(shape))
            self._write(connection, shape, 0, result, even_empty=True)
        return result

    def _write(
        self, connection: duckdb.DuckDBPyConnection, shape: Shape, bucket: int, result: Result, even_empty: bool = False
    ) -> None:
        rows, missing = connection.execute("SELECT count(*), sum(ingestd_missing) FROM merged").fetchall()[0]
        if rows or even_empty:
            path = self._made / f"{self._name}-b{bucket:04d}-v{self._before.version + 1}.parquet"
            connection.execute(sql.write_bucket(shape, str(path)))
            result.rows += rows
            result.missing += int(missing or 0)
            result.nbytes += path.stat().st_size

    def _keep(self, connection: duckdb.DuckDBPyConnection, old: Mapping[int, str], result: Result) -> None:
        """The files without a changed key stay as they are, under another name of the same file."""
        for path in old.values():
            with faults(f"{path}: link"):
                os.link(path, self._made / Path(path).name)
        if old:
            # Footers alone.
            rows = f"SELECT sum(num_rows) FROM parquet_file_metadata([{', '.join(map(sql.literal, old.values()))}])"
            result.rows += int(_value(connection, rows))
            result.nbytes += _nbytes(list(old.values()))

    def _unchanged(self) -> Result:
        """No row at all: runs of tombstones and the like, truncates of a table that never had a row."""
        before = self._before
        for path in self._old.values():
            with faults(f"{path}: link"):
                os.link(path, self._made / Path(path).name)
        return Result(before.buckets, before.key_types, before.rows, before.nbytes)

    def _buckets(self, stage: list[str]) -> int:
        wanted = (self._before.nbytes + _nbytes(stage)) / int(self._options.bucket_bytes)
        power = 1
        while power < wanted and power < _MOST_BUCKETS:
            power *= 2
        before = self._before.buckets
        return power if not before or power >= _GROWTH * before else before

    def _moved(
        self, connection: duckdb.DuckDBPyConnection, shape: Shape, buckets: int, old: Mapping[int, str]
    ) -> list[str]:
        """All files of the table, when all rows are written anew: other buckets, or another shape."""
        if not old:
            return []
        one = next(iter(old.values()))
        same = _described(connection, f"SELECT * FROM {sql.files([one])}") == list(shape.columns)
        before = self._before
        return [] if same and before.buckets == buckets and before.key_types == shape.key_types else list(old.values())


def _shape(connection: duckdb.DuckDBPyConnection, stage: list[str], current: list[str], key: tuple[str, ...]) -> Shape:
    """Columns of the newest stage files first; then those that only older ones, or the table, have."""
    # All files of a table have the same columns.
    found = dict(_described(connection, f"SELECT * FROM {sql.files([*stage, *current[:1]])}"))
    names = [name for name in found if name not in (*_STAGE_ONLY, *PLACE_COLUMNS)]
    missing = [name for name in key if name not in found]
    if missing:
        raise Halt(f"the primary key {', '.join(missing)} is no column of the stage table")
    return Shape(tuple((name, found[name]) for name in (*names, *PLACE_COLUMNS)), key)


def _source(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> Source:
    described = _described(connection, f"SELECT * FROM {sql.files(paths)}") if paths else []
    return Source(paths, {name for name, _ in described})


def _described(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[str, str]]:
    rows = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE {query})").fetchall()
    return [(str(name), str(kind)) for name, kind in rows]


def _value(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _buckets_in(directory: Path) -> dict[int, str]:
    """Bucket -> its file."""
    found = {}
    with faults(str(directory)):
        for name in sorted(os.listdir(directory)):
            if matched := _NAME.fullmatch(name):
                found[int(matched["bucket"])] = str(directory / name)
    return found


def _nbytes(paths: Sequence[str]) -> int:
    return sum(os.stat(path).st_size for path in paths)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
