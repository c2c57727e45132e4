"""Temporary directories that outlive nobody for long: the next one made removes those of the killed. Knows no lake.

Each is locked by its process (flock), so that what a killed one left is told from what a living one uses, also across
containers that share a temporary directory.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

from ingestd.lake.places.faults import faults

_LOCK = ".lock"
_YOUNG_SECS = 60.0
"""A directory without a lock is being made."""


class TemporaryDirectory:
    """A directory below TMPDIR, removed with this object, with the process, or after it.

    Raises: Retryable or Halt of the disk.
    """

    def __init__(self, prefix: str):
        parent = Path(tempfile.gettempdir())
        remove_leftovers(parent, prefix)
        with faults(f"{parent}: create a temporary directory (TMPDIR)"):
            self.path, lock = _made(parent, prefix)
        self._end = weakref.finalize(self, _remove, self.path, lock, os.getpid())

    def remove(self) -> None:
        """Nothing is left of it."""
        self._end()


def _made(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new directory and its lock's descriptor. Raises: OSError."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(path, os.O_CREAT)
        # Who looks for leftovers may have come between the lock's making and its taking.
        if lock is not None and os.fstat(lock).st_nlink:
            return path, lock
        if lock is not None:
            os.close(lock)


def remove_leftovers(parent: Path, prefix: str) -> int:
    """Remove the directories of processes that are gone; how many there were. What cannot be removed stays."""
    removed = 0
    for path in parent.glob(f"{prefix}*"):
        try:
            # Only its owner makes the lock: without one, a directory is being made, or its maker was killed just then.
            found = path.lstat()
            if found.st_uid != os.geteuid():
                continue
            old = time.time() - found.st_mtime > _YOUNG_SECS
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
    descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
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
