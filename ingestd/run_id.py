"""The id of one execution of the daemon. Knows nothing of what the daemon does.

Made in the supervisor before it forks, so that every child has it; commands that are no daemon have none, unless they
begin one.
"""

import os
import secrets
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from msgspec import Struct

_RANDOM_BITS = 74
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_ENDED = ("Z", "X")
"""States of a process that has ended, but that its parent has not waited for."""


class Run(Struct, frozen=True):
    """One execution and the process that began it."""

    run_id: str
    host: str
    pid: int
    pid_start: str
    """Of the process `pid`; tells it from a later one of the same number."""


_state: list[Run] = []
"""At most one: of this process and of those that it forks."""


def begin() -> Run:
    """A new run begins in this process; the one before is over."""
    pid = os.getpid()
    _state[:] = [Run(new_run_id(), socket.gethostname(), pid, process_start(pid) or "")]
    return _state[0]


def current() -> Run | None:
    """The run that this process is part of."""
    return _state[0] if _state else None


def new_run_id(now_ms: int | None = None) -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then chance; in text order they are in time order."""
    milliseconds = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = secrets.randbits(_RANDOM_BITS)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return str(UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | _VERSION_7 | high << 64 | _VARIANT | low))


def log_file(directory: str | None) -> Path | None:
    """The log file of the current run; None without a directory, and in a process that is part of no run."""
    run = current()
    return Path(directory) / f"run_{run.run_id}.log" if directory and run else None


def began_at(run_id: str) -> datetime:
    """When a run began, by the clock of its host. Raises: ValueError for what is no UUID."""
    return datetime.fromtimestamp((UUID(run_id).int >> 80) / 1000, UTC)


def process_start(pid: int) -> str | None:
    """When a process of this machine began: boot id and ticks since; None when no such process lives."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if state in _ENDED else f"{boot_id}.{fields[18]}"
    except (OSError, ValueError, IndexError):
        return None


def is_alive(run: Run) -> bool:
    """Whether the process that began `run` is still there; only for runs of this host."""
    return process_start(run.pid) == run.pid_start
