"""Whose turn it is among the workers of one SQLite file. Knows no database library.

SQLite lets whoever asks at the right moment have the lock: a worker with a backlog asks again a millisecond after it
has committed, and one with a lone record would wait for seconds.
"""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager


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
            weakref.finalize(self, os.close, self._file)
        # The kernel lets those who wait go first: of 30 waits beside a process without a pause none saw a second turn.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
