"""The Parquet files of one stage table's run: typed rows by partition, in bounded memory. Knows no event."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import structs

from ingestd.config import options as cfg
from ingestd.config.checks.medallion import STAGE_COLUMNS
from ingestd.lake.layout import Layout, encode
from ingestd.lake.places.faults import faults
from ingestd.lake.writing.schema import FileSchema

_MOST_OPEN = 64
_GROUP_ROWS = 122_880
_GROUP_BYTES = 32 << 20
_BUFFER_BYTES = 64 << 20
_FILE_BYTES = 256 << 20


class StageFiles:
    """Files below one directory, all of one table and one run; each has the columns of one version of the table."""

    def __init__(self, directory: Path, table: str, options: cfg.MedallionTable):
        self._directory = directory
        self._name = encode(table.encode())
        self._options = options
        self._open: OrderedDict[tuple[int, str], _Open] = OrderedDict()
        self._shapes: dict[tuple[cfg.Column, ...], _Shape] = {}
        self._buffered = 0
        self.files = 0
        self.rows = 0

    def add(self, columns: tuple[cfg.Column, ...], rows: pa.RecordBatch) -> None:
        """Rows of the version of the table that has these columns, and behind them those of `STAGE_COLUMNS`."""
        shape = self._shapes.get(columns)
        if shape is None:
            shape = self._shapes[columns] = _Shape(len(self._shapes), columns, self._options.partition_by)
        batch = shape.files.batch(rows)
        slots, directories = shape.layout.directories(rows)
        for slot, directory in enumerate(directories):
            part = batch if len(directories) == 1 else batch.filter(pa.array(slots == slot))
            self._put(shape, directory, part)
        while self._buffered > _BUFFER_BYTES:
            self._flush(max(self._open.values(), key=lambda one: one.nbytes))
        self.rows += rows.num_rows

    def close(self) -> None:
        """All files are complete."""
        while self._open:
            self._finish(next(iter(self._open)))

    def _put(self, shape: _Shape, directory: str, rows: pa.RecordBatch) -> None:
        at = (shape.number, directory)
        found = self._open.get(at)
        if found is None:
            while len(self._open) >= _MOST_OPEN:
                self._finish(next(iter(self._open)))
            found = self._open[at] = self._create(shape, directory)
        self._open.move_to_end(at)
        found.waiting.append(rows)
        found.rows += rows.num_rows
        found.nbytes += rows.nbytes
        self._buffered += rows.nbytes
        if found.rows >= _GROUP_ROWS or found.nbytes >= _GROUP_BYTES:
            self._flush(found)
        if found.written >= _FILE_BYTES:
            self._finish(at)

    def _create(self, shape: _Shape, directory: str) -> _Open:
        folder = self._directory / directory if directory else self._directory
        path = folder / f"{self._name}-{self.files:05d}.parquet"
        self.files += 1
        with faults(f"{path}: write"):
            folder.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, shape.files.arrow, compression="zstd", store_schema=False)
        return _Open(path, writer)

    def _flush(self, file: _Open) -> None:
        if file.waiting:
            table = pa.Table.from_batches(file.waiting)
            with faults(f"{file.path}: write"):
                file.writer.write_table(table, row_group_size=max(1, table.num_rows))
            file.written += file.nbytes
            self._buffered -= file.nbytes
            file.waiting, file.rows, file.nbytes = [], 0, 0

    def _finish(self, at: tuple[int, str]) -> None:
        self._flush(self._open[at])
        file = self._open.pop(at)
        with faults(f"{file.path}: write"):
            file.writer.close()


class _Open:
    """One file and what waits for it."""

    def __init__(self, path: Path, writer: Any):
        self.path = path
        self.writer = writer
        self.waiting: list[pa.RecordBatch] = []
        self.rows = 0
        self.nbytes = 0
        self.written = 0


class _Shape:
    """One version of the table: its columns in a file, and how rows find their directory."""

    def __init__(self, number: int, columns: tuple[cfg.Column, ...], partition_by: tuple[str, ...]):
        self.number = number
        every = (*columns, *(cfg.Column(name=name, type=kind) for name, kind in STAGE_COLUMNS.items()))
        lake = cfg.Lake(path="stage", partition_by=partition_by)
        like = cfg.Pipeline(name="stage", topic="stage", column=every, lake=lake)
        self.files = FileSchema.of(structs.replace(like, lake=None))
        self.layout = Layout(like)


def write_dead(path: Path, letters: list[dict[str, Any]]) -> None:
    """One file of refused events with the reason of each. Raises: Retryable, Halt."""
    with faults(f"{path}: write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(letters, DEAD_SCHEMA), path, compression="zstd")


DEAD_SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("ts", pa.timestamp("us", "UTC")),
        ("run_id", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("column", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Of the files below `_dead_letters`."""
