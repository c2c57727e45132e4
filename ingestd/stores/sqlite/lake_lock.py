"""The lock of one lake beside an SQLite file: the kernel's, of this process. Knows no files of the lake."""

import fcntl
import os
from typing import Any

from ingestd.errors import Halt, Retryable


class SqliteLakeLock:
    """See `ingestd.stores.lake_lock.LakeLock`. The kernel gives it back when the process ends."""

    def __init__(self, path: str, pipeline: str):
        """`path` of the database; its file must be on a local file system anyway."""
        self._path = f"{os.path.realpath(path)}.ingestd-lake-{pipeline}"
        self._pipeline = pipeline
        self._file: int | None = None

    def take(self) -> str | None:
        """None when this process has it now, else who has it."""
        self.release()
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Halt(f"{self._path}: {error.strerror}; let this user write beside the database") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 64, 0).decode(errors="replace").strip()
            os.close(file)
            return f"process {holder}"
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file
        return None

    def require(self, connection: Any) -> None:
        """Raises: Retryable when it was not taken; what was taken cannot be lost."""
        if self._file is None:
            raise Retryable(f"lake of {self._pipeline}: its lock is not held; tried again")

    def release(self) -> None:
        """No error when it was never taken."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
