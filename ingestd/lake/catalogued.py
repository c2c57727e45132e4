"""The manifest of a lake that also keeps a DuckLake catalogue: whoever changes the one changes the other.

Knows no database.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ingestd.config import options as cfg
from ingestd.config.checks.lake import PARTITION
from ingestd.lake.footers import describing
from ingestd.lake.layout import encode
from ingestd.lake.open import open_place
from ingestd.schema.types import parse_type
from ingestd.stores.ducklake import DuckLake
from ingestd.stores.ducklake_types import Entry, Transform
from ingestd.stores.manifest import LakeFile, Manifest
from ingestd.stores.open import open_ducklake, open_manifest

_IDENTITY = ("text", "varchar", "int2", "int4", "int8", "bool", "date")
"""Types whose values a directory names as DuckLake writes them."""


def open_catalogued(options: cfg.Store, pipeline: cfg.Pipeline) -> Manifest:
    """The manifest of the pipeline's lake, with its catalogue when `lake.ducklake` names one.

    Whoever changes a manifest opens it here. Raises: as `open_place`.
    """
    manifest = open_manifest(options, pipeline)
    if pipeline.lake is None or pipeline.lake.ducklake is None:
        return manifest
    place = open_place(pipeline.lake)
    dialect = open_ducklake(options, pipeline.lake.ducklake)
    return Catalogued(manifest, DuckLake(dialect, pipeline.name, place.url, transforms(pipeline), describing(place)))


def transforms(pipeline: cfg.Pipeline) -> list[Transform]:
    """The partitions in DuckLake's terms; none at all when one of them has none."""
    assert pipeline.lake is not None
    kinds = {column.name: parse_type(column.type) for column in pipeline.column}
    found = []
    for written in pipeline.lake.partition_by:
        made = PARTITION.fullmatch(written)
        if made and made["part"] != "date":
            found.append(Transform(made["part"], made["of"], made["part"]))
        elif not made and written in kinds and not kinds[written].is_array and kinds[written].scalar in _IDENTITY:
            found.append(Transform(encode(written.encode()), written, "identity"))
        else:
            return []
    return found


class Catalogued:
    """See `ingestd.stores.manifest.Manifest`."""

    def __init__(self, manifest: Manifest, catalogue: DuckLake):
        self._manifest = manifest
        self._catalogue = catalogue

    def prepare(self, connection: Any) -> None:
        """Create the tables that are missing; the catalogue has the files of the manifest."""
        self._manifest.prepare(connection)
        self._catalogue.prepare(connection)

    def lake_id(self, connection: Any, url: str) -> str:
        """The id of this pipeline's lake."""
        return self._manifest.lake_id(connection, url)

    def add(self, cursor: Any, files: Sequence[LakeFile]) -> None:
        """New files, in both."""
        self._manifest.add(cursor, files)
        self._catalogue.add(cursor, [_entry(file) for file in files])

    def replace(self, cursor: Any, removed: Collection[int], by: str = "compaction") -> int:
        """Mark these files REPLACED, in both; how many of them were part of the lake until now."""
        found = self._manifest.replace(cursor, removed, by)
        self._catalogue.remove(cursor, list(removed))
        return found

    def mark_settled(self, connection: Any, ids: Collection[int]) -> None:
        """These files are where readers look."""
        self._manifest.mark_settled(connection, ids)

    def unsettled(self, connection: Any, topic: str, partitions: Collection[int]) -> list[LakeFile]:
        """COMMITTED files of these partitions."""
        return self._manifest.unsettled(connection, topic, partitions)

    def files(self, connection: Any, older_than_secs: float = 0.0) -> list[LakeFile]:
        """All files that are part of the lake."""
        return self._manifest.files(connection, older_than_secs)


def _entry(file: LakeFile) -> Entry:
    return Entry(directory=file.directory, name=file.name, staged=file.staged, rows=file.rows, nbytes=file.nbytes)
