"""The room beside a directory of tables in which new files are made, and the lock of who makes them. Knows no store.

It is not below the directory: DuckDB's and Python's `**` would find the files there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType

from ingestd.errors import Halt, Retryable
from ingestd.lake.merging.exchange import sync_directory
from ingestd.lake.places.faults import fault, faults

_LOCK = ".lock"


class Workroom:
    """Of the tables in `root`; entered by one process at a time."""

    def __init__(self, root: Path, recover: Callable[[], None] = lambda: None):
        """`recover` puts right what a process that died has left, before anything else is done here."""
        self._recover = recover
        self.root = root.absolute()
        self.path = self.root.parent / f".{self.root.name}.work"
        self._lock: int | None = None

    def __enter__(self) -> Workroom:
        """Raises: Retryable when another process is at work here, Halt when nothing can be renamed from here, and what
        `recover` raises."""
        self._enter_alone()
        try:
            self._recover()
        except BaseException:
            self._leave()
            raise
        return self

    def _enter_alone(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(exist_ok=True)
            if os.stat(self.root).st_dev != os.stat(self.path).st_dev:
                raise Halt(
                    f"{self.root}: is a file system of its own; name a directory below it, so that {self.path.name}"
                    " can be beside it"
                )
            self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._leave()
            raise Retryable(f"{self.root}: another process is making tables here; wait until it has ended") from None
        except OSError as error:
            self._leave()
            raise fault(error, str(self.root)) from error
        except BaseException:
            self._leave()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def fresh(self, name: str) -> Path:
        """An empty directory of this name; what was there is gone. Raises: Retryable, Halt."""
        path = self.path / name
        with faults(str(path)):
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True)
        return path

    def sweep(self, keep: Collection[str]) -> None:
        """Remove what a process that died has left, except these. Raises: Retryable, Halt."""
        with faults(str(self.path)):
            for path in self.path.iterdir():
                if path.name != _LOCK and path.name not in keep:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_durable(directory: Path) -> int:
    """Every file and directory in here is on the disk; the bytes of the files. Raises: Retryable, Halt."""
    nbytes = 0
    with faults(str(directory)):
        for here, _, files in os.walk(directory):
            for name in files:
                file = os.open(Path(here) / name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(file)
                    nbytes += os.fstat(file).st_size
                finally:
                    os.close(file)
            sync_directory(Path(here))
    return nbytes


def move(source: Path, target: Path) -> None:
    """Rename a directory to a name that is free, durably; done already when only the target is there.

    Raises: Halt when neither is there, or both are.
    """
    with faults(str(target)):
        if source.exists():
            if target.exists():
                raise Halt(f"{target}: is there, but the ledger does not know of it; move it away")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, target)
        elif not target.exists():
            raise Halt(f"{target}: is missing, and {source} too; somebody removed it: restore it from a backup")
        for directory in (target.parent, target.parent.parent, source.parent):
            sync_directory(directory)
