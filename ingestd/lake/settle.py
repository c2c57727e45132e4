"""Committed files take their places; what no commit names is removed. Knows no Kafka, no Parquet and no database.

Everything here may be repeated, by anybody, at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingestd.errors import Halt
from ingestd.lake.layout import staged_epoch, staging_directory
from ingestd.lake.place import Place
from ingestd.lake.places.together import together
from ingestd.lake.places.turns import shared
from ingestd.stores.manifest import LakeFile, Manifest


def settle(place: Place, manifest: Manifest, connection: Any, files: Sequence[LakeFile]) -> bool:
    """Publish committed files and mark them settled; the connection has no open transaction.

    `files` come from `Manifest.unsettled`: they have ids. Those of a compaction are its own to publish, together with
    the removal of what they replace. False when directories are being exchanged: nothing was
    done, settle again at the next turn.

    Raises: Retryable; Halt when a file of the manifest is nowhere.
    """
    files = [file for file in files if file.made_by != "compaction"]
    if not files:
        return True
    with shared(place) as turn:
        if not turn:
            return False
        there = together(lambda file: place.publish(file.staged, file.key), files)
        missing = {file.id for file, is_there in zip(files, there, strict=True) if not is_there}
        # Marked before the lock is given back: an exchange finds files that are settled, or that nobody touched.
        manifest.mark_settled(connection, [file.id for file in files if file.id not in missing])
    if missing:
        _ask_again(place, manifest, connection, [file for file in files if file.id in missing])
    return True


def _ask_again(place: Place, manifest: Manifest, connection: Any, missing: Sequence[LakeFile]) -> None:
    """Somebody else has settled them, and compaction has replaced them since; or they are lost."""
    for file in missing:
        waiting = manifest.unsettled(connection, file.topic, [] if file.partition is None else [file.partition])
        if file.id in {other.id for other in waiting}:
            raise Halt(
                f"{place.url}: file {file.key} ({file.rows} rows) is committed, but neither it nor {file.staged} is "
                "there; restore one of them from a backup. `ingestd verify` tells what is missing",
                None if file.partition is None else [file.partition],
            )


def remove_leftovers(
    place: Place, manifest: Manifest, connection: Any, pipeline: str, topic: str, claimed: Mapping[int, int]
) -> int:
    """Remove staged files of these partitions that no commit names; how many there were.

    `claimed` maps each partition to the epoch that this process has just claimed for it: files of earlier epochs can
    no longer be committed, those of this one and later ones are somebody's open files.
    """
    named: set[str] | None = None
    removed = 0
    for partition, epoch in claimed.items():
        for found in place.list(staging_directory(pipeline, topic, partition)):
            written = staged_epoch(found.key)
            if written is None or written >= epoch:
                continue
            if named is None:
                named = {file.staged for file in manifest.unsettled(connection, topic, list(claimed))}
            if found.key not in named:
                place.remove(found.key)
                removed += 1
    return removed
