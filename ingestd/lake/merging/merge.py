"""Several Parquet files into one, in bounded memory. Knows no manifest and no directory.

Rows keep the order of the files; within each row group they are sorted as the lake says.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.lake.place import Place
from ingestd.lake.writing.files import OpenFiles, Written
from ingestd.lake.writing.footer import NoFooter, read_footer
from ingestd.lake.writing.schema import FIELD_ID
from ingestd.stores.manifest import LakeFile

_GROUP_ROWS = 1 << 17
_GROUP_BYTES = 32 << 20
"""Of a row group in memory, whichever comes first; sorting and writing it takes about three times as much."""
_BATCH_ROWS = 1 << 14

Tick = Callable[[int], None]
"""Called again and again with the rows read since: a heartbeat, a progress bar. What it raises ends the work."""


class Unreadable(Exception):
    """A file of the manifest is not there, or not as it was committed: it stays as it is."""

    def __init__(self, file: LakeFile, why: str):
        super().__init__(f"{file.key}: {why}; left as it is, `ingestd verify` tells more")
        self.file = file


class Source(Struct, frozen=True):
    """A file to merge, checked against the manifest."""

    file: LakeFile
    schema: pa.Schema
    """As in the file, with field ids, without metadata of the whole."""


def examine(place: Place, file: LakeFile) -> Source:
    """Raises: Unreadable when size, footer or rows are not those of the manifest."""
    try:
        with closing(place.read(file.key)) as opened:
            if opened.size() != file.nbytes:
                raise Unreadable(file, f"has {opened.size()} bytes, not the {file.nbytes} that were committed")
            footer = read_footer(opened)
            if footer.sha256 != file.footer or footer.rows != file.rows:
                raise Unreadable(file, "is another file than the one that was committed")
            return Source(file, pq.ParquetFile(opened).schema_arrow.remove_metadata())
    except FileNotFoundError:
        raise Unreadable(file, "is not there") from None
    except (NoFooter, pa.ArrowException) as error:
        raise Unreadable(file, str(error)) from error


def alike(sources: Sequence[Source]) -> list[list[Source]]:
    """Those that fit into one schema, together: columns may be missing in some, none may differ in type or field id."""
    classes: list[tuple[pa.Schema, list[Source]]] = []
    for source in sources:
        for n, (schema, members) in enumerate(classes):
            wider = _widest(schema, source.schema)
            if wider is not None:
                members.append(source)
                classes[n] = wider, members
                break
        else:
            classes.append((source.schema, [source]))
    return [members for _, members in classes]


def merge(place: Place, options: cfg.Lake, sources: Sequence[Source], to: Place, key: str, tick: Tick) -> Written:
    """One staged file `key` of `to`, finished but not sealed, with all rows of `sources`, which are alike.

    Raises: Unreadable, ValueError when they are not alike; Retryable or Halt of the disk.
    """
    schema = schema_of(sources)
    files = OpenFiles(to, options, schema)
    written: Written | None = None
    try:
        for rows in _row_groups(_batches(place, sources, schema, tick)):
            group = rows.sort_by([(name, "ascending") for name in files.sort_by]) if files.sort_by else rows
            written = written or files.create("", key, 0, group)
            files.write(written, group)
            tick(0)
        written = written or files.create("", key, 0, schema.empty_table())
        files.finish(written)
    except BaseException:
        files.abandon()
        raise
    return written


def schema_of(sources: Sequence[Source]) -> pa.Schema:
    """The schema that holds all rows of `sources`. Raises: ValueError when there is none."""
    schema = sources[0].schema
    for source in sources[1:]:
        wider = _widest(schema, source.schema)
        if wider is None:
            raise ValueError(f"{source.file.key}: its columns do not go together with those of the files before")
        schema = wider
    return schema


def _widest(first: pa.Schema, second: pa.Schema) -> pa.Schema | None:
    """The columns of both, those of the wider one first; None when a column or a field id means two things."""
    if first.equals(second, check_metadata=True):
        return first
    wide, narrow = (second, first) if len(second) > len(first) else (first, second)
    fields = list(wide)
    by_name = {field.name: field for field in fields}
    ids = {_field_id(field) for field in fields}
    for field in narrow:
        same = by_name.get(field.name)
        if same is None:
            if _field_id(field) is not None and _field_id(field) in ids:
                return None
            fields.append(field)
        elif same.type != field.type or _field_id(same) != _field_id(field):
            return None
    every = set(wide.names) & set(narrow.names)
    return pa.schema([field if field.name in every else field.with_nullable(True) for field in fields])


def _field_id(field: pa.Field) -> bytes | None:
    found: bytes | None = (field.metadata or {}).get(FIELD_ID)
    return found


def _batches(place: Place, sources: Sequence[Source], schema: pa.Schema, tick: Tick) -> Iterator[pa.RecordBatch]:
    """The rows of all files, a piece of a row group at a time, with every column of `schema`."""
    for source in sources:
        rows = 0
        try:
            with closing(place.read(source.file.key)) as opened:
                # Not read ahead: a whole row group of every column would be in memory.
                parquet = pq.ParquetFile(opened, pre_buffer=False, page_checksum_verification=True)
                for batch in parquet.iter_batches(_BATCH_ROWS, use_threads=False):
                    rows += batch.num_rows
                    tick(batch.num_rows)
                    yield _widened(batch, schema)
        except FileNotFoundError:
            raise Unreadable(source.file, "is not there any more") from None
        except (OSError, pa.ArrowException) as error:
            raise Unreadable(source.file, str(error)) from error
        if rows != source.file.rows:
            raise Unreadable(source.file, f"has {rows} rows, not {source.file.rows}")


def _widened(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    there = set(batch.schema.names)
    columns: list[Any] = [
        batch.column(field.name) if field.name in there else pa.nulls(batch.num_rows, field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _row_groups(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = nbytes = 0
    for batch in batches:
        waiting.append(batch)
        rows, nbytes = rows + batch.num_rows, nbytes + batch.nbytes
        if rows >= _GROUP_ROWS or nbytes >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, nbytes = [], 0, 0
    if rows:
        yield pa.Table.from_batches(waiting)


def no_tick(_rows: int) -> None:
    """Nobody waits and nobody looks."""
