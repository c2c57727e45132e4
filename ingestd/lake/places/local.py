"""A lake in a directory. Knows no manifest and no Parquet."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestd.errors import Halt, Retryable
from ingestd.lake.place import IDENTITY, STAGING, Listed
from ingestd.lake.places.faults import fault, faults

_LOCK = ".lock"
_NOT_OURS = {STAGING, "lost+found"}
"""What may be in a root that counts as empty."""
_TRIES = 5
"""Somebody may remove an empty directory between its making and its use."""


class LocalPlace:
    """A directory of a local file system, or of one that several hosts mount (it needs rename, fsync and flock).

    What is renamed is durable before the manifest says so: file first, then the directories from the file's up to the
    root.
    """

    def __init__(self, path: str):
        self._path = path
        self._root = Path(path).absolute()
        self._durable: set[Path] = set()
        """Directories whose own entry is on the disk, as far as this process knows."""
        self._lake_id = ""
        """What the root said when it was asked last."""

    @property
    def url(self) -> str:
        return str(self._root)

    @property
    def lock(self) -> Path | None:
        return self._root / STAGING / _LOCK

    def scratch(self, key: str) -> Path:
        path = self._at(key)
        for attempt in range(_TRIES):
            self._make(path.parent)
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
                break
            except FileExistsError:
                raise
            except OSError as error:
                if error.errno != errno.ENOENT or attempt == _TRIES - 1:
                    raise fault(error, f"{path}: create") from error
        return path

    def seal(self, scratch: Path, key: str) -> None:
        path = self._at(key)
        with faults(f"{path}: make durable"):
            if scratch != path:
                os.rename(scratch, path)
            _fsync(path)
            _fsync(path.parent)
            # Read for every file: a disk that was unmounted leaves an empty directory, which takes files as well.
            if self._lake_id and _identity(self._root / IDENTITY) != self._lake_id:
                raise Retryable(f"{self._root}: is no longer the directory of lake {self._lake_id}; not mounted?")

    def publish(self, staged: str, key: str) -> bool:
        source, target = self._at(staged), self._at(key)
        for attempt in range(_TRIES):
            self._make(target.parent)
            with faults(f"{target}: publish"):
                try:
                    os.rename(source, target)
                except FileNotFoundError:
                    if not target.exists():
                        if source.exists() and attempt < _TRIES - 1:
                            continue
                        return False
                # Also when it was there before: whoever renamed it may have died before this.
                _fsync(target.parent)
                return True
        return False

    def remove(self, key: str) -> None:
        path = self._at(key)
        with faults(f"{path}: remove"):
            path.unlink(missing_ok=True)
        for directory in path.parents:
            if directory == self._root:
                break
            try:
                directory.rmdir()
            except OSError:
                break
            self._durable.discard(directory)

    def list(self, prefix: str = "") -> Iterator[Listed]:
        start = self._at(prefix) if prefix else self._root
        top = prefix.split("/")[0]
        with faults(f"{start}: list"):
            for directory, names, files in os.walk(start, onerror=_complain):
                here = Path(directory)
                if here == self._root and top != STAGING:
                    names[:] = [name for name in names if name != STAGING]
                for name in files:
                    if (here == self._root and name == IDENTITY) or here / name == self.lock:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        found = os.stat(here / name)
                        modified = datetime.fromtimestamp(found.st_mtime, UTC)
                        yield Listed((here / name).relative_to(self._root).as_posix(), found.st_size, modified)

    def read(self, key: str) -> Any:
        import pyarrow as pa

        path = self._at(key)
        try:
            # Not mapped: of a file that is cut while it is read, a mapping kills the process.
            return pa.OSFile(str(path), "rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise fault(error, f"{path}: read") from error

    def identity(self, wanted: str) -> str:
        path = self._root / IDENTITY
        with faults(f"{path}: read or make"):
            self._lake_id = _identity(path)
            if self._lake_id or not wanted or not self._is_empty():
                return self._lake_id
            self._make(self._root / STAGING)
            with tempfile.NamedTemporaryFile(dir=self._root / STAGING, prefix=".identity-") as made:
                made.write(json.dumps({"lake_id": wanted}).encode() + b"\n")
                os.fchmod(made.fileno(), 0o644)
                made.flush()
                os.fsync(made.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(made.name, path)
            _fsync(self._root)
            self._lake_id = _identity(path)
            return self._lake_id

    def abort_orphaned_uploads(self, older_than_secs: float) -> int:
        return 0

    def _is_empty(self) -> bool:
        try:
            return set(os.listdir(self._root)) <= _NOT_OURS
        except FileNotFoundError:
            return True

    def _at(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ValueError(f"{key!r} is no key of a lake")
        return self._root.joinpath(*parts)

    def _make(self, directory: Path) -> None:
        """The directory is there, and durably so: its entry in each parent up to the root's."""
        if directory in self._durable and directory.is_dir():
            return
        with faults(f"{directory}: create"):
            directory.mkdir(parents=True, exist_ok=True)
            for path in (directory, *directory.parents):
                if path in self._durable and path != directory:
                    break
                with contextlib.suppress(FileNotFoundError):
                    _fsync(path.parent)
                self._durable.add(path)
                if path == self._root:
                    break


def _identity(path: Path) -> str:
    try:
        found = json.loads(path.read_bytes())["lake_id"]
    except FileNotFoundError:
        return ""
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str) or not found:
        raise Halt(f"{path}: is not readable as a lake's identity; restore it from a backup")
    return found


def _complain(error: OSError) -> None:
    if error.errno != errno.ENOENT:
        raise error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
