"""Whose turn it is among the workers of one SQLite file. Knows no database library.

SQLite lets whoever asks at the right moment have the lock: a worker with a backlog asks again a millisecond after it
has committed, and one with a lone record would wait for seconds.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_TURN, _NEXT = 0, 1
"""Bytes of the file. Who waits for the turn holds the place behind it, so that whoever had it cannot take it again."""


class Turns:
    """This process's place in the queue. The kernel gives it up when the process ends."""

    def __init__(self, path: str):
        """`path` of the lock file beside the database; its own lock, the daemon's, is of another kind."""
        self._path = path
        self._file: int | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The turn, for one transaction; waits until those before have had theirs. Raises: OSError."""
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _NEXT)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, _TURN)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _NEXT)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _TURN)
