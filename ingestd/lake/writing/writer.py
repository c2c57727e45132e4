"""Decoded rows into staged Parquet files, tile by tile. Knows no manifest, no cursor and no Kafka client."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from ingestd.batch import Rows, Tile
from ingestd.config import options as cfg
from ingestd.lake.layout import Layout, final_name, redrive_key, staged_key
from ingestd.lake.place import Place
from ingestd.lake.places.together import together
from ingestd.lake.writing.files import OpenFiles, Written
from ingestd.lake.writing.pending import Group, Pending
from ingestd.lake.writing.schema import FileSchema
from ingestd.rows import partitions_of
from ingestd.stores.manifest import LakeFile

Partitions = NDArray[np.int32]

_GUESSED_RATIO = 0.4
"""Of bytes in a file to bytes in memory, until some are in a file."""
_MOST_WAITING = 1 << 30
"""However large `lake.buffer` is: what is sorted together must fit into one Arrow array of text, 2 GiB."""


class Sealed(Struct):
    """What one commit adds to the lake."""

    tile: Tile
    files: list[LakeFile]
    """May be empty: an empty tile commits too."""


class _OpenTile:
    """What one partition has open."""

    def __init__(self, partition: int, start: int, epoch: int, number: int, schema: FileSchema, sort_by: list[str]):
        self.partition = partition
        self.start = self.end = start
        self.epoch = epoch
        self.number = number
        """Of the next file."""
        self.since: float | None = None
        """When the oldest record that is not committed came."""
        self.rows = 0
        self.pending = Pending(schema, sort_by)
        self.files: list[Written] = []
        self.latest: dict[str, Written] = {}
        """By directory."""
        self.file_bytes = 0
        self.flushed_bytes = 0
        """In memory, of the rows that are in files."""

    def expected_bytes(self) -> float:
        """Of the files, with the rows that wait in memory."""
        ratio = self.file_bytes / self.flushed_bytes if self.flushed_bytes else _GUESSED_RATIO
        return self.file_bytes + ratio * self.pending.nbytes


class LakeWriter:
    """The open tiles of one topic's partitions. One thread uses it.

    Rows wait in memory until those of all partitions together reach `lake.buffer`; then the largest groups of one
    directory become row groups. After any exception call `discard`, claim and `begin` again.

    `made_by` is noted with the files: "roll", or "redrive" for rows that come a second time, whose staged files lie
    apart from those that a claim cleans away.
    """

    def __init__(
        self,
        pipeline: cfg.Pipeline,
        place: Place,
        topic: str,
        made_by: str = "roll",
        clock: Callable[[], float] = time.monotonic,
    ):
        assert pipeline.lake is not None
        self._lake = pipeline.lake
        self._pipeline = pipeline.name
        self._topic = topic
        self._place = place
        self._made_by = made_by
        self._clock = clock
        self._schema = FileSchema.of(pipeline)
        self._layout = Layout(pipeline)
        self._files = OpenFiles(place, pipeline.lake, self._schema.arrow)
        self._tiles: dict[int, _OpenTile] = {}
        self._sealed: dict[int, _OpenTile] = {}

    @property
    def open_rows(self) -> int:
        """Rows that are not committed."""
        return sum(tile.rows for tile in self._all())

    @property
    def open_bytes(self) -> int:
        """Bytes of these in files, and in memory."""
        return sum(tile.file_bytes + tile.pending.nbytes for tile in self._all())

    def begin(self, partition: int, start: int, epoch: int) -> None:
        """At claim: the partition's open tile starts here, empty.

        Raises: ValueError when the partition has one with rows; they would be lost.
        """
        if partition in self._tiles and self._tiles[partition].rows:
            raise ValueError(f"partition {partition} has {self._tiles[partition].rows} open rows")
        self._sealed.pop(partition, None)
        self._open(partition, start, epoch)

    def add(self, rows: Rows, partitions: Partitions | None = None) -> None:
        """Rows that belong into the lake, in any order of partitions; `rows.tiles` say how far they reach.

        `partitions` is that of each row, where it is known already.

        Raises: ValueError when a tile does not start where the partition's open one ends; Retryable or Halt of the
        disk.
        """
        for tile in rows.tiles:
            opened = self._tiles.get(tile.partition)
            if opened is None or opened.end != tile.start:
                end = "none" if opened is None else str(opened.end)
                raise ValueError(f"partition {tile.partition}: rows start at {tile.start}, the open tile ends at {end}")
        if rows.columns.num_rows:
            batch = rows.columns.select(list(self._schema.names))
            codes, directories = self._layout.directories(rows.columns)
            for partition, keep in _by_partition(rows, partitions):
                part, part_codes = (batch, codes) if keep is None else (batch.filter(keep), codes[keep.to_numpy(False)])
                opened = self._tiles[partition]
                opened.pending.add(part, part_codes, directories)
                opened.rows += part.num_rows
        now = self._clock()
        for tile in rows.tiles:
            opened = self._tiles[tile.partition]
            opened.end = tile.end
            opened.since = now if opened.since is None else opened.since
        self._make_room()

    def due(self, now: float) -> list[int]:
        """Partitions whose roll is due; `now` in seconds of `time.monotonic()`."""
        roll = self._lake.roll
        return [
            tile.partition
            for tile in self._tiles.values()
            if tile.since is not None
            and (
                tile.rows >= roll.max_rows
                or tile.expected_bytes() >= roll.max_bytes
                or now - tile.since >= roll.max_age
            )
        ]

    def has_rows(self, partition: int) -> bool:
        """Whether the partition's open tile has rows; one without need not be committed before it is due."""
        return partition in self._tiles and self._tiles[partition].rows > 0

    def seal(self, partition: int) -> Sealed:
        """Close the partition's open tile: its files are complete and durable as staged ones.

        Next: commit them with the cursor, then `committed`, then settle. Raises: Retryable or Halt of the disk.
        """
        tile = self._tiles[partition]
        self._flush(tile, tile.pending.take_all())
        for written in tile.files:
            if self._files.is_open(written):
                self._files.finish(written)
        together(lambda written: self._place.seal(written.scratch, written.key), tile.files)
        found = sum(written.rows for written in tile.files)
        if found != tile.rows:
            raise AssertionError(f"partition {partition}: files hold {found} rows of {tile.rows}")
        self._sealed[partition] = self._tiles.pop(partition)
        files = [self._lake_file(tile, written) for written in tile.files]
        return Sealed(Tile(partition, tile.start, tile.end), files)

    def committed(self, partition: int) -> None:
        """The sealed tile is committed: the next one begins where it ended."""
        tile = self._sealed.pop(partition)
        self._open(partition, tile.end, tile.epoch)

    def discard(self) -> None:
        """Drop all open files and rows, whatever the disk says.

        Sealed files stay: their commit may have arrived. Whoever claims next asks the manifest (`remove_leftovers`).
        """
        self._files.abandon()
        for tile in self._tiles.values():
            for written in tile.files:
                written.scratch.unlink(missing_ok=True)
        self._tiles.clear()
        self._sealed.clear()

    def _all(self) -> list[_OpenTile]:
        return [*self._tiles.values(), *self._sealed.values()]

    def _open(self, partition: int, start: int, epoch: int) -> None:
        # A redrive has no epoch of its own, and may be repeated.
        number = 0 if self._made_by == "roll" else secrets.randbits(48)
        self._tiles[partition] = _OpenTile(partition, start, epoch, number, self._schema, self._files.sort_by)

    def _make_room(self) -> None:
        """Write until what waits, and the copy that sorting it takes, fit into the buffer."""
        limit = min(self._lake.buffer, _MOST_WAITING)
        while True:
            tiles = [tile for tile in self._tiles.values() if tile.pending.rows]
            needed = sum(tile.pending.nbytes for tile in tiles)
            if needed + max((tile.pending.taking_bytes for tile in tiles), default=0) <= limit:
                return
            largest = max(tiles, key=lambda tile: tile.pending.nbytes)
            self._flush(largest, largest.pending.take_largest())

    def _flush(self, tile: _OpenTile, groups: Iterator[Group]) -> None:
        before = tile.pending.nbytes
        # Those with an open file first: a new file may close one that waited.
        later = []
        for directory, rows in groups:
            latest = tile.latest.get(directory)
            if latest is not None and self._files.is_open(latest):
                self._write(tile, latest, rows)
            else:
                later.append((directory, rows))
        for directory, rows in later:
            self._write(tile, self._create(tile, directory, rows), rows)
        tile.flushed_bytes += before - tile.pending.nbytes

    def _create(self, tile: _OpenTile, directory: str, rows: pa.Table) -> Written:
        place = (self._pipeline, self._topic, tile.partition, tile.start, tile.epoch, tile.number)
        key = staged_key(*place) if self._made_by == "roll" else redrive_key(*place)
        written = self._files.create(directory, key, tile.number, rows)
        tile.number += 1
        tile.files.append(written)
        tile.latest[directory] = written
        return written

    def _write(self, tile: _OpenTile, written: Written, rows: pa.Table) -> None:
        before = written.nbytes
        self._files.write(written, rows)
        tile.file_bytes += written.nbytes - before

    def _lake_file(self, tile: _OpenTile, written: Written) -> LakeFile:
        return LakeFile(
            topic=self._topic,
            partition=tile.partition,
            start=tile.start,
            end=tile.end,
            directory=written.directory,
            name=final_name(self._topic, tile.partition, tile.start, tile.end, tile.epoch, written.number),
            staged=written.key,
            rows=written.rows,
            nbytes=written.nbytes,
            footer=written.footer,
            made_by=self._made_by,
        )


def _by_partition(rows: Rows, partitions: Partitions | None) -> Iterator[tuple[int, pa.BooleanArray | None]]:
    """Each partition with rows, and which are its rows; None: all."""
    if len(rows.tiles) == 1:
        yield rows.tiles[0].partition, None
        return
    partitions = partitions_of(rows) if partitions is None else partitions
    for tile in rows.tiles:
        mine = partitions == tile.partition
        if mine.any():
            yield tile.partition, pa.array(mine)
