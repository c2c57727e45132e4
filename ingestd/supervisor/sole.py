"""The only daemon of an SQLite file: its lock, and its workers that a signal has stopped. Knows no database library.

One daemon a file, because SQLite has no second host to hand a partition to: whoever holds the lock has them all.
"""

import fcntl
import os
import time
from pathlib import Path

from ingestd.config.options import Config
from ingestd.config.store_url import is_sqlite_url, sqlite_lock_path, sqlite_path
from ingestd.errors import StartupError

WAIT_SECS = 3.0
"""A daemon that was killed has its children for a moment more, and they share its lock."""
_POLL_SECS = 0.05


class FileLocks:
    """The locks of this daemon, held until its last process has ended: every child inherits them."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def hold(self, config: Config) -> None:
        """Take the lock of the configuration's SQLite file, if it has one and it is not held already.

        Raises: StartupError when another daemon has it, or when there is no directory to put it in.
        """
        if not is_sqlite_url(config.store.url):
            return
        path = os.path.realpath(sqlite_path(config.store.url))
        if path not in self._held:
            self._held[path] = _lock(path)


def is_sole(config: Config) -> bool:
    """Whether this daemon has all partitions, without a consumer group."""
    return is_sqlite_url(config.store.url)


def default_workers(config: Config) -> int:
    """Worker processes when the configuration does not say: a pipeline each where there is one writer at a time."""
    if is_sole(config):
        return len(config.pipeline)
    return max(4, 2 * len(os.sched_getaffinity(0)))


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process: it will not go on by itself, and keeps what it has locked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _lock(path: str) -> int:
    try:
        # Not inheritable by programs that are started, but by the forked children: the last of them gives it up.
        lock = os.open(sqlite_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        there = os.path.isdir(os.path.dirname(path))
        mend = f"{'let ingestd write there' if there else 'create the directory'}, or name another in store.url"
        said = f"SQLite file {path}: cannot make its lock {sqlite_lock_path(path)}: {error.strerror}; {mend}"
        raise StartupError(said) from error
    deadline = time.monotonic() + WAIT_SECS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
                os.close(lock)
                raise StartupError(
                    f"SQLite file {path}: another daemon{f' (pid {owner})' if owner else ''} is using it; "
                    "stop that one, or give this configuration a file of its own"
                ) from None
        time.sleep(_POLL_SECS)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
