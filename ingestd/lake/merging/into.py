"""One file for every value of a lake's first partition, beside the lake, whose files stay as they are. Knows no runs.

For a bronze lake: events of a run that has ended never change, and what reads them reads one file.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.lake.identity import check_identity
from ingestd.lake.layout import hive_values
from ingestd.lake.merging.exchange import sync_directory
from ingestd.lake.merging.ledger import Ledger
from ingestd.lake.merging.merge import Source, Tick, Unreadable, alike, examine, merge, no_tick
from ingestd.lake.place import STAGING, Place
from ingestd.lake.places.faults import faults
from ingestd.lake.places.local import LocalPlace
from ingestd.stores.manifest import SETTLED, LakeFile

COMPACTED = "events_compacted.parquet"
_NOTE = "_events_compacted.json"
"""Beside it, what it was made of; readers of Hive directories pass over names that begin with "_"."""

IsFinished = Callable[[str, list[LakeFile]], bool]
"""(value of the first partition, its files) -> whether no other file of this value will come."""


class Note(Struct, frozen=True):
    """What a compacted file was made of."""

    sources: dict[str, str]
    """Key and footer of each file."""
    rows: int
    nbytes: int
    """Of the compacted file."""
    footer: str


class Unit(Struct, frozen=True):
    """One value of the first partition, whose files are to become one."""

    directory: str
    """Of the lake, and below `compact.into`: "run_id=x"."""
    files: tuple[LakeFile, ...]
    """By topic and partition in the order of offsets."""

    @property
    def nbytes(self) -> int:
        return sum(file.nbytes for file in self.files)


class IntoOne:
    """Needs the lake's lock. Raises: Retryable, Halt."""

    def __init__(self, pipeline: cfg.Pipeline, place: Place, ledger: Ledger, tick: Tick = no_tick):
        assert pipeline.lake is not None
        assert pipeline.lake.compact.into is not None
        # In the order of offsets, whatever the lake sorts by: it is a log.
        self._lake = structs.replace(pipeline.lake, sort_by=())
        self._place = place
        self._ledger = ledger
        self._tick = tick
        self._into = Path(pipeline.lake.compact.into).absolute()
        self._to = LocalPlace(str(self._into))

    def plan(self, is_finished: IsFinished) -> list[Unit]:
        """The finished values whose file is missing, or was made of other files."""
        self._require_apart()
        with self._ledger.store.deciding():
            check_identity(self._place, self._ledger.manifest, self._ledger.store.open())
            files = self._ledger.manifest.files(self._ledger.store.open())
        by_value: dict[str, list[LakeFile]] = {}
        for file in files:
            by_value.setdefault(file.directory.partition("/")[0], []).append(file)
        return [
            Unit(directory, tuple(sorted(found, key=_by_offset)))
            for directory, found in sorted(by_value.items())
            if directory
            and all(file.state == SETTLED for file in found)
            and is_finished(_value(directory), found)
            and not self._is_made(directory, found)
        ]

    def make(self, unit: Unit) -> Note:
        """The file of this value, complete and durable when it has its name. Idempotent.

        Raises: Halt when a file of the lake is not as it was committed, or their columns do not go together.
        """
        staged = f"{STAGING}/{unit.directory}.parquet.staged"
        self._to.remove(staged)  # of a run that was killed
        try:
            sources = list(self._examined(unit))
            if len(alike(sources)) > 1:
                raise Halt(f"{self._place.url}/{unit.directory}: the columns of its files do not go together in one")
            written = merge(self._place, self._lake, sources, self._to, staged, self._tick)
        except Unreadable as fault:
            raise Halt(f"{self._place.url}: {fault}") from fault
        self._to.seal(written.scratch, staged)
        note = Note(_sources(unit.files), written.rows, written.nbytes, written.footer)
        self._to.publish(staged, f"{unit.directory}/{COMPACTED}")
        self._to.remove(staged)  # and the directory it was in
        self._write(unit.directory, note)
        return note

    def _examined(self, unit: Unit) -> Iterator[Source]:
        for file in unit.files:
            self._tick(0)
            yield examine(self._place, file)

    def _is_made(self, directory: str, files: list[LakeFile]) -> bool:
        try:
            note = msgspec.json.decode((self._into / directory / _NOTE).read_bytes(), type=Note)
            size = (self._into / directory / COMPACTED).stat().st_size
        except (OSError, msgspec.MsgspecError):
            return False
        # Not the other way round: files that were removed by age are still in it.
        return note.nbytes == size and _sources(files).items() <= note.sources.items()

    def _write(self, directory: str, note: Note) -> None:
        path = self._into / directory / _NOTE
        with faults(f"{path}: write"):
            new = path.with_name(f"{_NOTE}.new")
            with open(new, "wb") as file:
                file.write(msgspec.json.encode(note))
                file.flush()
                os.fsync(file.fileno())
            os.rename(new, path)
            sync_directory(path.parent)

    def _require_apart(self) -> None:
        if not self._place.url.startswith("s3://"):
            root = Path(self._place.url)
            if root == self._into or root in self._into.parents:
                raise Halt(f"compact.into = {self._into}: is in the lake itself, which would count every row twice")


def _by_offset(file: LakeFile) -> tuple[str, int, int, int]:
    return file.topic, -1 if file.partition is None else file.partition, file.start, file.id


def _sources(files: Sequence[LakeFile]) -> dict[str, str]:
    return {file.key: file.footer for file in files}


def _value(directory: str) -> str:
    """The value of a directory's first partition; as it is written when it was cut."""
    try:
        (value,) = hive_values(directory).values()
    except ValueError:
        return directory.partition("=")[2]
    return "" if value is None else value.decode("utf-8", "replace")
