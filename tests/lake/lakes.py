"""Pipelines, rows and manifests in memory for the lake's tests. Must not know a server."""

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa
from msgspec import convert, structs

from ingestd.batch import Rows, Tile
from ingestd.config import options as cfg
from ingestd.lake.place import Place
from ingestd.lake.settle import settle
from ingestd.lake.writing.writer import LakeWriter, Sealed
from ingestd.stores.manifest import COMMITTED, REPLACED, SETTLED, LakeFile
from tests.decode.records import MemoryRecord


class PlacedRecord(MemoryRecord):
    """A record of any partition."""

    of: int = 0

    def partition(self) -> int:
        return self.of


def pipeline(path: object, *columns: tuple[str, str], **lake: Any) -> cfg.Pipeline:
    """A pipeline "p" of (name, type) columns into a lake alone."""
    given = {
        "name": "p",
        "topic": "t",
        "column": [{"name": name, "type": kind} for name, kind in columns],
        "lake": {"path": str(path), **lake},
    }
    return convert(given, cfg.Pipeline, dec_hook=lambda kind, value: kind(value))


def rows_of(columns: pa.RecordBatch, start: int = 0, partition: int = 0) -> Rows:
    """Rows whose offsets begin at `start`."""
    count = columns.num_rows
    records = [PlacedRecord(None, start + n, partition) for n in range(count)]
    return Rows([Tile(partition, start, start + count)], columns, records, [], 0)


def of_partitions(*parts: Rows) -> Rows:
    """Several partitions' rows as one batch."""
    # Of no rows at all a table gives no batch.
    joined = pa.Table.from_batches([part.columns for part in parts]).combine_chunks().to_batches()
    columns = joined[0] if joined else parts[0].columns
    tiles = [tile for part in parts for tile in part.tiles]
    return Rows(tiles, columns, [record for part in parts for record in part.records], [], 0)


class MemoryManifest:
    """A Manifest of one process; connection and cursor are not looked at."""

    def __init__(self, lake: str = "11111111-1111-7111-8111-111111111111"):
        self.lake = lake
        self.all: list[LakeFile] = []

    def prepare(self, connection: Any) -> None:
        pass

    def lake_id(self, connection: Any, url: str) -> str:
        return self.lake

    def add(self, cursor: Any, files: Sequence[LakeFile]) -> None:
        self.all += [structs.replace(file, id=len(self.all) + n) for n, file in enumerate(files, 1)]

    def replace(self, cursor: Any, removed: Collection[int], by: str = "compaction") -> int:
        return self._become(removed, REPLACED, (COMMITTED, SETTLED))

    def mark_settled(self, connection: Any, ids: Collection[int]) -> None:
        self._become(ids, SETTLED, (COMMITTED,))

    def unsettled(self, connection: Any, topic: str, partitions: Collection[int]) -> list[LakeFile]:
        waiting = [file for file in self.all if file.state == COMMITTED]
        return [f for f in waiting if not partitions or (f.topic == topic and f.partition in partitions)]

    def files(self, connection: Any, older_than_secs: float = 0.0) -> list[LakeFile]:
        return [file for file in self.all if file.state in (COMMITTED, SETTLED)]

    def _become(self, ids: Collection[int], state: str, before: tuple[str, ...]) -> int:
        changed = [n for n, file in enumerate(self.all) if file.id in ids and file.state in before]
        for n in changed:
            self.all[n] = structs.replace(self.all[n], state=state)
        return len(changed)


def roll(writer: LakeWriter, place: Place, manifest: MemoryManifest, partition: int = 0) -> Sealed:
    """Seal, commit and settle one partition."""
    sealed = writer.seal(partition)
    manifest.add(None, sealed.files)
    writer.committed(partition)
    assert settle(place, manifest, None, manifest.unsettled(None, "t", [partition]))
    return sealed


def written(path: object, columns: pa.RecordBatch, of: cfg.Pipeline) -> MemoryManifest:
    """One tile of `columns`, settled in the directory `path`."""
    from ingestd.lake.places.local import LocalPlace

    place, manifest = LocalPlace(str(path)), MemoryManifest()
    writer = LakeWriter(of, place, "t")
    writer.begin(0, 0, 1)
    writer.add(rows_of(columns))
    roll(writer, place, manifest)
    return manifest
