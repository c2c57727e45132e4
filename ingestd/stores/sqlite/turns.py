"""Whose turn it is among the workers of one SQLite file. Knows no database library.

SQLite lets whoever asks at the right moment have the lock: a worker with a backlog asks again a millisecond after it
has committed, and one with a lone record would wait for seconds.
"""

import fcntl
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """A worker's place in the queue. The kernel gives it up when the process ends."""

    def __init__(self, path: str):
        """`path` of the lock file beside the database; its own lock, the daemon's, is of another kind."""
        self._path = path
        self._queue: _Queue | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The turn, for one transaction; waits until those before have had theirs. Raises: OSError."""
        if self._queue is None:
            self._queue = _queue_of(self._path)
        self._queue.enter()
        try:
            # The kernel lets those who wait go first: of 30 waits beside a process without a pause none saw a second
            # turn.
            fcntl.lockf(self._queue.file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._queue.file, fcntl.LOCK_UN)
        finally:
            self._queue.leave()


class _Queue:
    """The workers of this process, in the order in which they asked.

    Such a lock is the whole process's: it does not keep its threads from one another, and closing any descriptor of
    the file gives it up. So they share one.
    """

    def __init__(self, path: str):
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        weakref.finalize(self, os.close, self.file)
        self._mutex = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def enter(self) -> None:
        """Wait for those who asked before."""
        with self._mutex:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def leave(self) -> None:
        """The next one's turn; it was taken for it already."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_queues: "weakref.WeakValueDictionary[tuple[int, str], _Queue]" = weakref.WeakValueDictionary()
_making = threading.Lock()


def _queue_of(path: str) -> _Queue:
    """This process's queue for the file. Raises: OSError."""
    with _making:
        # By process: a forked child has its parent's object, but none of its locks.
        key = (os.getpid(), os.path.realpath(path))
        queue = _queues.get(key)
        if queue is None:
            _queues[key] = queue = _Queue(path)
        return queue
