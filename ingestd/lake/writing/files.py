"""The open staged files of a worker, at most so many at once. Knows no tiles and no manifest."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.lake.place import Place
from ingestd.lake.places.faults import faults
from ingestd.lake.writing.footer import NoFooter, read_footer

_SAMPLE_ROWS = 20_000
_DISTINCT_SHARE = 0.75
"""A dictionary of more distinct values than this share of the rows costs more than it saves."""


class Written(Struct):
    """A staged file, open or finished."""

    directory: str
    key: str
    scratch: Path
    number: int
    rows: int = 0
    nbytes: int = 0
    """So far; of a finished file its size."""
    footer: str = ""
    """SHA-256, once it is finished."""


class OpenFiles:
    """Parquet files being written; `options` are those of the lake."""

    def __init__(self, place: Place, options: cfg.Lake, schema: pa.Schema):
        self._place = place
        self._schema = schema
        self._max_open = options.max_open_files
        self._sort_by = [name for name in options.sort_by if name in schema.names]
        self._compression = options.compression
        self._open: OrderedDict[str, tuple[Written, Any]] = OrderedDict()
        """By key; the one that was written last is the last."""
        self._dictionaries: list[str] | None = None

    @property
    def sort_by(self) -> list[str]:
        return self._sort_by

    def create(self, directory: str, key: str, number: int, like: pa.Table) -> Written:
        """A new staged file, open; when there are too many, the one that waited longest is finished first.

        `like` are its first rows: how many values are distinct decides about dictionaries, once for all files.
        """
        while len(self._open) >= self._max_open:
            self.finish(next(iter(self._open.values()))[0])
        if self._dictionaries is None:
            self._dictionaries = _repetitive(like)
        written = Written(directory, key, self._place.scratch(key), number)
        try:
            with _storage(written):
                self._open[key] = written, self._parquet(written.scratch)
        except BaseException:
            # Nobody knows of it yet.
            with contextlib.suppress(OSError):
                written.scratch.unlink()
            raise
        return written

    def is_open(self, written: Written) -> bool:
        return written.key in self._open

    def write(self, written: Written, rows: pa.Table) -> None:
        """Append a row group; `rows` are in the order of `sort_by`."""
        parquet = self._open[written.key][1]
        self._open.move_to_end(written.key)
        with _storage(written):
            parquet.write_table(rows, row_group_size=max(1, rows.num_rows))
            written.nbytes = parquet.file_handle.tell()
        written.rows += rows.num_rows

    def finish(self, written: Written) -> None:
        """Close the file and check it against what was written; it is not durable yet."""
        _, parquet = self._open.pop(written.key)
        with _storage(written):
            _close(parquet)
            with pa.OSFile(str(written.scratch), "rb") as file:
                written.nbytes = file.size()
                try:
                    footer = read_footer(file)
                except NoFooter as error:
                    raise Retryable(f"{written.scratch}: {error}; it is written again") from error
        if footer.rows != written.rows:
            raise Retryable(f"{written.scratch}: holds {footer.rows} rows of {written.rows}; it is written again")
        written.footer = footer.sha256

    def abandon(self) -> None:
        """Close and remove all open files, whatever the disk says."""
        for written, parquet in self._open.values():
            with contextlib.suppress(OSError, pa.ArrowException):
                _close(parquet)
            with contextlib.suppress(OSError):
                written.scratch.unlink()
        self._open.clear()

    def _parquet(self, path: Path) -> Any:
        sink = pa.OSFile(str(path), "wb")
        parquet = pq.ParquetWriter(
            sink,
            self._schema,
            compression=self._compression,
            use_dictionary=self._dictionaries,
            write_statistics=True,
            write_page_index=True,
            write_page_checksum=True,
            store_schema=False,
            sorting_columns=pq.SortingColumn.from_ordering(
                self._schema, [(name, "ascending") for name in self._sort_by]
            )
            if self._sort_by
            else None,
        )
        parquet.file_handle = sink
        return parquet


def _close(parquet: Any) -> None:
    try:
        parquet.close()
    finally:
        # Or the garbage collector would try again.
        parquet.is_open = False
        parquet.file_handle.close()


@contextlib.contextmanager
def _storage(written: Written) -> Iterator[None]:
    """Errors of the disk, which Arrow gives as they are."""
    with faults(f"{written.scratch}: write"):
        yield


def _repetitive(rows: pa.Table) -> list[str]:
    """The columns whose values come again often enough; nested ones always."""
    sample = rows.slice(0, _SAMPLE_ROWS)
    return [name for name in rows.schema.names if _pays(sample.column(name))]


def _pays(column: pa.ChunkedArray) -> bool:
    if pa.types.is_nested(column.type) or not len(column):
        return True
    return bool(pc.count_distinct(column, mode="all").as_py() <= _DISTINCT_SHARE * len(column))
