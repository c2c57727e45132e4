"""A directory of a local lake gets other files, all at once for whoever lists it. Knows no manifest and no Parquet.

Readers take no lock and may be anywhere: they list a directory, then open what they saw. So nobody may ever list what
is neither the old nor the new content of it:

- the new content is put together in a directory of its own, below `_staging/compact/<id>/`, with hard links for
  everything that stays (files that nobody knows, too), and then both directories change places in one step;
- a glob of the whole root sees `_staging` as well. Beside every directory in it, at the same depth, lies a file named
  *.parquet that is none: such a reader gets an error, not every row twice. For the same reason the old directory has
  one: who has opened it and lists it only after its files were removed finds a name, and no such file;
- where directories cannot be exchanged (the root itself, directories in which others are), that file is put into the
  directory for a moment before its files change, and stays a moment after.

Every step may be repeated by anybody who has the lock of `ingestd.lake.places.turns`.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from ingestd.errors import Retryable
from ingestd.lake.merging.exchange import exchange, sync_directory
from ingestd.lake.place import STAGING
from ingestd.lake.places.faults import faults

COMPACT = f"{STAGING}/compact"
"""Below it a directory for each compaction under way, which nobody else touches without the lake's lock."""
GRACE_SECS = 1.0
"""Between the opening of a directory and the end of its listing no reader takes longer."""
_SIGN = "being-replaced-"
_NO_PARQUET = b"The files of a directory are being replaced: read again.\n"


class Turnover(Struct, frozen=True):
    """What becomes of one directory."""

    directory: str
    """As in the manifest."""
    removed: frozenset[str]
    """Names; files that are not there need not be removed."""
    added: Mapping[str, str]
    """Name -> key of the staged file, which stays there too until `clear`."""


class Bench:
    """The room of one compaction: `_staging/compact/<id>/`."""

    def __init__(self, root: Path, name: str):
        self._root = root
        self._room = root / COMPACT / name
        self._sign = f"{_SIGN}{name}.parquet"
        """Name of the file that is no Parquet file."""

    def require_ready(self, turnovers: Sequence[Turnover]) -> None:
        """Raises: Retryable when a file to be removed is not there, or one to be added is there already."""
        for turnover in turnovers:
            here = self._root / turnover.directory
            with faults(f"{here}: list"):
                names = set(os.listdir(here))
            if missing := sorted(turnover.removed - names):
                raise Retryable(f"{here}: {missing[0]} was removed by somebody; `ingestd verify` tells what is missing")
            if taken := sorted(turnover.added.keys() & names):
                raise Retryable(f"{here}: {taken[0]} is there already")

    def complete(self, turnovers: Sequence[Turnover]) -> None:
        """All directories have their new files; those that had them before stay as they are. Needs the lock."""
        with faults(f"{self._room}: exchange directories"):
            self._put_sign(self._room / "0")
            in_place = []
            for turnover in turnovers:
                here = self._root / turnover.directory
                here.mkdir(parents=True, exist_ok=True)
                names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(here)}
                if here == self._root or any(names.values()):
                    in_place.append(turnover)
                elif turnover.added.keys() <= names.keys() or self._exchange(here, turnover, names):
                    self._return_strangers(here, turnover)
                else:
                    in_place.append(turnover)
            self._change_in_place(in_place)

    def _exchange(self, here: Path, turnover: Turnover, names: Collection[str]) -> bool:
        """False when a file of somebody else may not be linked; nothing has changed then."""
        there = self._beside(turnover.directory)
        if there.exists():  # of a try that did not come so far
            shutil.rmtree(there)
        there.mkdir()
        try:
            for name in names:
                if name not in turnover.removed and name != self._sign:
                    os.link(here / name, there / name, follow_symlinks=False)
        except PermissionError:
            return False
        for name, staged in turnover.added.items():
            os.link(self._root / staged, there / name)
        _take_rights(here, there)
        sync_directory(there)
        if self._sign not in names:
            os.link(self._room / "0" / self._sign, here / self._sign)
        exchange(here, there)
        return True

    def _return_strangers(self, here: Path, turnover: Turnover) -> None:
        """What somebody else made in the old directory meanwhile belongs into the new one."""
        there = self._beside(turnover.directory)
        if not there.is_dir():
            return
        for name in os.listdir(there):
            if name in turnover.removed or name == self._sign:
                continue
            if (here / name).exists() and os.path.samefile(there / name, here / name):
                os.unlink(there / name)
            else:
                os.rename(there / name, here / name)

    def _change_in_place(self, turnovers: Sequence[Turnover]) -> None:
        waiting = [one for one in turnovers if not self._is_done(one)]
        if not waiting:
            return
        for turnover in waiting:
            self._put_sign(self._root / turnover.directory)
        time.sleep(GRACE_SECS)
        for turnover in waiting:
            here = self._root / turnover.directory
            for name in turnover.removed:
                (here / name).unlink(missing_ok=True)
            for name, staged in turnover.added.items():
                if not (here / name).exists():
                    os.link(self._root / staged, here / name)
            sync_directory(here)
        time.sleep(GRACE_SECS)
        for turnover in waiting:
            (self._root / turnover.directory / self._sign).unlink()
            sync_directory(self._root / turnover.directory)

    def _is_done(self, turnover: Turnover) -> bool:
        names = set(os.listdir(self._root / turnover.directory))
        return turnover.added.keys() <= names and not names & {*turnover.removed, self._sign}

    def clear(self) -> None:
        """Nothing of this compaction is left but what it has made; waits until no reader lists an old directory.

        Also for one that was never committed. Needs the lake's lock.
        """
        with faults(f"{self._room}: remove"):
            if not self._room.exists():
                return
            old = [path for path in self._room.iterdir() if path.name.startswith("x-")]
            if old:
                time.sleep(GRACE_SECS)
            for directory in old:
                for name in os.listdir(directory):
                    if name != self._sign:
                        os.unlink(directory / name)
            for directory in old:
                (directory / self._sign).unlink(missing_ok=True)
                directory.rmdir()
            shutil.rmtree(self._room)

    def _put_sign(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / self._sign).write_bytes(_NO_PARQUET)

    def _beside(self, directory: str) -> Path:
        return self._room / f"x-{hashlib.sha256(directory.encode()).hexdigest()[:24]}"


def is_sign(name: str) -> bool:
    """Whether a file of this name is no Parquet file, but the mark of a compaction under way."""
    return name.startswith(_SIGN)


def room_of(staged: str) -> str:
    """Of the compaction that made the file with this staged key; "" when none did."""
    return staged.split("/")[2] if staged.startswith(f"{COMPACT}/") else ""


def _take_rights(of: Path, to: Path) -> None:
    """Owner and mode of a directory."""
    status = of.stat()
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(to, status.st_uid, status.st_gid)
    os.chmod(to, status.st_mode & 0o7777)
