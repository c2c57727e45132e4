"""CPU seconds and memory of processes, read from /proc. Knows nothing of what they do."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Times(NamedTuple):
    """CPU seconds (user and system) of a process, and of its children that have ended and were reaped."""

    parent_pid: int
    own_secs: float
    reaped_secs: float


def times(pid: int) -> Times | None:
    """CPU of a process, None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, reaped_user, reaped_system = (int(field) / _TICKS for field in fields[11:15])
    return Times(int(fields[1]), user + system, reaped_user + reaped_system)


def peak_rss_mb(pid: int) -> float:
    """Highest resident size so far (VmHWM; shared pages count in every process), 0 when it is gone."""
    return _status_mb(pid, "VmHWM:")


def rss_mb(pid: int) -> float:
    """Resident size now, 0 when it is gone."""
    return _status_mb(pid, "VmRSS:")


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (found := times(int(entry))):
            children.setdefault(found.parent_pid, []).append(int(entry))
    members, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        members.append(pid)
        waiting += children.get(pid, [])
    return members


def tree_secs(root: int) -> float:
    """CPU of a process, its descendants, and those it has already reaped."""
    total = 0.0
    for pid in tree([root]):
        if found := times(pid):
            total += found.own_secs + (found.reaped_secs if pid == root else 0.0)
    return total


class Meter:
    """CPU and peak memory of every process ever seen under some roots; `sample` often, processes come and go."""

    def __init__(self, roots: list[int], rescan_secs: float = 0.5):
        self._roots = roots
        self._rescan = rescan_secs
        self._scanned_at = -rescan_secs
        self.secs: dict[int, float] = {}
        self.peak_mb: dict[int, float] = {}

    def sample(self, scan: bool = False) -> None:
        """Read them all now; new processes are looked for now and then, or at once with `scan`."""
        now = time.monotonic()
        if scan or now - self._scanned_at >= self._rescan:
            self._scanned_at = now
            for pid in tree(self._roots):
                self.secs.setdefault(pid, 0.0)
        for pid in self.secs:
            if (found := times(pid)) and found.own_secs >= self.secs[pid]:
                self.secs[pid] = found.own_secs
                self.peak_mb[pid] = max(self.peak_mb.get(pid, 0.0), peak_rss_mb(pid))


def _status_mb(pid: int, field: str) -> float:
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) / 1024 for line in file if line.startswith(field)), 0.0)
    except OSError:
        return 0.0
