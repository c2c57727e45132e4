"""Local files that are uploaded when they are complete. Knows no object store."""

from __future__ import annotations

import os
from pathlib import Path

from ingestd.lake.places.faults import fault, faults
from ingestd.lake.temporary import TemporaryDirectory

PREFIX = "ingestd-lake-"


class Spool:
    """A directory below TMPDIR, made when it is first used and removed with the process."""

    def __init__(self) -> None:
        self._directory: TemporaryDirectory | None = None

    def create(self, key: str) -> Path:
        """An empty file for `key`. Raises: FileExistsError when there is one; Retryable or Halt of the disk."""
        if self._directory is None:
            self._directory = TemporaryDirectory(PREFIX)
        path = self._directory.path.joinpath(*key.split("/"))
        with faults(f"{path.parent}: create"):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            raise
        except OSError as error:
            raise fault(error, f"{path}: create") from error
        return path
