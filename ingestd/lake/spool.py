"""Local directories for files that are uploaded when they are complete. Knows no object store.

A spool is locked by its process (flock), so that what a killed one left is told from what a living one writes, also
across containers that share a temporary directory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

from ingestd.lake.faults import fault, faults

_PREFIX = "ingestd-lake-"
_LOCK = ".lock"
_YOUNG_SECS = 60.0
"""A directory without a lock is being made."""


class Spool:
    """A directory below TMPDIR, made when it is first used and removed with the process."""

    def __init__(self) -> None:
        self._path: Path | None = None

    def create(self, key: str) -> Path:
        """An empty file for `key`. Raises: FileExistsError when there is one; Retryable or Halt of the disk."""
        if self._path is None:
            self._path = self._make()
        path = self._path.joinpath(*key.split("/"))
        with faults(f"{path.parent}: create"):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise
        except OSError as error:
            raise fault(error, f"{path}: create") from error
        return path

    def _make(self) -> Path:
        parent = Path(tempfile.gettempdir())
        remove_leftovers(parent)
        with faults(f"{parent}: create a spool directory (TMPDIR)"):
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = _lock(path, os.O_CREAT)
        assert lock is not None
        weakref.finalize(self, _remove, path, lock, os.getpid())
        return path


def remove_leftovers(parent: Path) -> int:
    """Remove the spools of processes that are gone; how many there were. What cannot be removed stays."""
    removed = 0
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            # Only its owner makes the lock: without one, a directory is being made, or its maker was killed just then.
            old = time.time() - path.stat().st_mtime > _YOUNG_SECS
            lock = _lock(path, os.O_CREAT if old else 0)
        except OSError:
            continue
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
            removed += 1
    return removed


def _lock(path: Path, flags: int) -> int | None:
    """The lock's descriptor; None when somebody has it. Raises: OSError."""
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(path: Path, lock: int, owner: int) -> None:
    # A forked child that ends must not take its parent's files along.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)
