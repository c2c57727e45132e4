"""Small files of a lake become larger ones: merged, swapped in manifest and directory. Knows no clock and no screen.

A crash at any step leaves the lake as it was, or as it will be once the next run has recovered: what the manifest does
not name is removed, what it names takes its place. `ingestd.lake.merging.turnover` says what readers see meanwhile.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.errors import Halt, Retryable
from ingestd.lake.identity import check_identity
from ingestd.lake.layout import encode
from ingestd.lake.merging.exchange import require_exchange
from ingestd.lake.merging.ledger import Ledger
from ingestd.lake.merging.merge import Source, Tick, Unreadable, alike, examine, merge, no_tick
from ingestd.lake.merging.plan import Group, plan
from ingestd.lake.merging.turnover import COMPACT, Bench, Turnover, room_of
from ingestd.lake.place import Place
from ingestd.lake.places import turns
from ingestd.logs import get_logger
from ingestd.stores.manifest import COMMITTED, LakeFile

_MOST_DIRECTORIES = 32
_MOST_BYTES = 1 << 30
"""Merged in one go, with one pause for readers at the end; so much room on the disk is needed besides."""
_TOPIC_BYTES = 150

log = get_logger()


class Done(Struct):
    """What was merged."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows: int = 0
    unreadable: list[str] = []
    """Files that were left as they are, and why."""


class Compactor:
    """The merging of one lake; every method but `plan` needs its lock.

    Raises: Retryable (nothing is lost: again later), Halt.
    """

    def __init__(self, pipeline: cfg.Pipeline, place: Place, ledger: Ledger, tick: Tick = no_tick):
        """`tick` is called again and again while rows are copied."""
        assert pipeline.lake is not None
        self._lake = pipeline.lake
        self._place = place
        self._ledger = ledger
        self._tick = tick
        self._root = Path(place.url) if place.lock is not None else None
        self._exchanges = self._root is not None and self._lake.compact.readers == "any"

    def plan(self, directories: str = "*") -> list[Group]:
        """What is to be merged now, in the directories of this shell pattern."""
        with self._ledger.store.deciding():
            files = self._ledger.manifest.files(self._ledger.store.open())
        return plan(files, self._lake.compact, directories)

    def recover(self) -> None:
        """Whatever a compaction that died has left is finished, or removed. Before anything else; idempotent."""
        store, manifest = self._ledger.store, self._ledger.manifest
        with store.deciding():
            check_identity(self._place, manifest, store.open())
            live = manifest.files(store.open())
            gone = self._ledger.replaced.waiting(store.open(), 0)
        rooms = {room_of(file.staged) for file in live if file.state == COMMITTED} | self._rooms()
        for room in sorted(rooms - {""}):
            made = [file for file in live if room_of(file.staged) == room]
            if made or any(room_of(file.staged) == room for file in gone):
                log.info("compaction recovered", lake=self._place.url, compaction=room, files=len(made))
                here = {file.directory for file in made}
                self._show(room, made, [file for file in gone if file.directory in here])
            else:
                self._clear(room)

    def run(self, groups: Sequence[Group]) -> Done:
        """Merge these groups, commit, and show the new files. See `batches`."""
        room = f"{int(time.time()):08x}{secrets.token_hex(4)}"
        done = Done()
        if self._exchanges and self._root is not None:
            require_exchange(self._root / COMPACT / room)
        try:
            made: list[LakeFile] = []
            removed: list[LakeFile] = []
            for group in groups:
                for sources in alike(list(self._examined(group, done))):
                    self._merge(room, sources, made, removed, done)
        except BaseException:
            with contextlib.suppress(OSError, Retryable, Halt):
                self._clear(room)
            raise
        if not made:
            self._clear(room)
            return done
        with self._alone():
            if self._exchanges:
                self._bench(room).require_ready(_turnovers(made, removed))
            self._commit(room, made, removed)
            shown = self._put_in_place(room, made, removed)
        self._finish(room, shown, removed)
        done.files_before, done.files_after = len(removed), len(made)
        done.bytes_before, done.bytes_after = _nbytes(removed), _nbytes(made)
        done.rows = sum(file.rows for file in made)
        return done

    def _examined(self, group: Group, done: Done) -> Iterator[Source]:
        for file in group.files:
            self._tick(0)
            try:
                yield examine(self._place, file)
            except Unreadable as fault:
                done.unreadable.append(str(fault))

    def _merge(
        self, room: str, sources: list[Source], made: list[LakeFile], removed: list[LakeFile], done: Done
    ) -> None:
        """One file out of `sources`; one that cannot be read is left out, and the others are merged again."""
        while len(sources) > 1:
            key = f"{COMPACT}/{room}/merged/{len(made)}-{len(done.unreadable)}.parquet.staged"
            files = [source.file for source in sources]
            try:
                written = merge(self._place, self._lake, sources, self._place, key, self._tick)
            except Unreadable as fault:
                done.unreadable.append(str(fault))
                sources = [source for source in sources if source.file is not fault.file]
                continue
            self._place.seal(written.scratch, key)
            name = f"{encode(files[0].topic.encode(), _TOPIC_BYTES)}-{min(file.start for file in files)}"
            made.append(
                LakeFile(
                    topic=files[0].topic,
                    partition=None,
                    start=min(file.start for file in files),
                    end=max(file.end for file in files),
                    directory=files[0].directory,
                    name=f"{name}-{max(file.end for file in files)}-c{room}-{len(made)}.parquet",
                    staged=key,
                    rows=written.rows,
                    nbytes=written.nbytes,
                    footer=written.footer,
                    made_by="compaction",
                    committed_at=max(file.committed_at for file in files if file.committed_at is not None),
                )
            )
            removed += files
            return

    def _commit(self, room: str, made: Sequence[LakeFile], removed: Sequence[LakeFile]) -> None:
        store, manifest = self._ledger.store, self._ledger.manifest
        with store.side_transaction() as tx:
            self._ledger.lock.require(store.open())
            if manifest.replace(tx.cursor, [file.id for file in removed], room) != len(removed):
                raise Retryable(f"{self._place.url}: files were replaced while they were merged; tried again")
            manifest.add(tx.cursor, made)

    def _show(self, room: str, made: Sequence[LakeFile], removed: Sequence[LakeFile]) -> None:
        with self._alone():
            shown = self._put_in_place(room, made, removed)
        self._finish(room, shown, removed)

    def _put_in_place(self, room: str, made: Sequence[LakeFile], removed: Sequence[LakeFile]) -> list[LakeFile]:
        """Committed files are where readers look, as the manifest says from now on."""
        store, manifest = self._ledger.store, self._ledger.manifest
        if self._exchanges:
            self._bench(room).complete(_turnovers(made, removed))
        else:
            for file in made:
                if not self._place.publish(file.staged, file.key):
                    raise Halt(f"{self._place.url}: {file.key} is committed, but neither it nor {file.staged} is there")
        with store.deciding():
            shown = [file for file in manifest.unsettled(store.open(), "", []) if room_of(file.staged) == room]
            manifest.mark_settled(store.open(), [file.id for file in shown])
        return shown

    def _finish(self, room: str, shown: Sequence[LakeFile], removed: Sequence[LakeFile]) -> None:
        """What was replaced goes: at once where directories were exchanged, else when no reader needs it any more."""
        self._clear(room)
        if self._exchanges and removed:
            with self._ledger.store.deciding():
                self._ledger.replaced.mark_removed(self._ledger.store.open(), [file.id for file in removed])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._exchanges:
            yield
            return
        with turns.alone(self._place) as free:
            if not free:
                raise Retryable(f"{self._place.lock}: held by a process that settles or exchanges; tried again later")
            yield

    def _rooms(self) -> set[str]:
        if self._root is None:
            return {found.key.split("/")[2] for found in self._place.list(COMPACT)}
        with contextlib.suppress(FileNotFoundError):
            return set(os.listdir(self._root / COMPACT))
        return set()

    def _clear(self, room: str) -> None:
        if self._root is not None:
            self._bench(room).clear()
            return
        for found in list(self._place.list(f"{COMPACT}/{room}")):
            self._place.remove(found.key)

    def _bench(self, room: str) -> Bench:
        assert self._root is not None
        return Bench(self._root, room)


def batches(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """As many groups at a time as are merged in one go."""
    batch: list[Group] = []
    for group in groups:
        directories = {one.directory for one in batch} | {group.directory}
        nbytes = sum(one.nbytes for one in batch) + group.nbytes
        if batch and (len(directories) > _MOST_DIRECTORIES or nbytes > _MOST_BYTES):
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch


def _turnovers(made: Sequence[LakeFile], removed: Sequence[LakeFile]) -> list[Turnover]:
    return [
        Turnover(
            directory,
            frozenset(file.name for file in removed if file.directory == directory),
            {file.name: file.staged for file in made if file.directory == directory},
        )
        for directory in sorted({file.directory for file in made})
    ]


def _nbytes(files: Sequence[LakeFile]) -> int:
    return sum(file.nbytes for file in files)
