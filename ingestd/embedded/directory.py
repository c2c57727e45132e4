"""The directories of embedded stacks: where they are, who holds one, what a crash left. Knows no server."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ingestd.embedded.child import wait_until
from ingestd.errors import StartupError

_TEMPORARY_PREFIX = "ingestd-embedded-"
_LOCK = "stack.lock"
_LAST_BREATH_SECS = 15


def data_directory(name: str) -> Path:
    """Where the stack called `name` (such as the path of a configuration file) keeps its servers' files between runs.

    $XDG_DATA_HOME/ingestd, else /var/lib/ingestd for root (PostgreSQL's own user may not enter /root), else
    ~/.local/share/ingestd (~/Library/Application Support/ingestd on macOS). The directory is not made here.
    """
    configured = os.environ.get("XDG_DATA_HOME")
    if configured:
        parent = Path(configured)
    elif os.geteuid() == 0:
        parent = Path("/var/lib")
    else:
        parent = Path.home() / ("Library/Application Support" if sys.platform == "darwin" else ".local/share")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", Path(name).stem).strip("-")[:40]
    return parent / "ingestd" / "embedded" / f"{readable or 'stack'}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


class HeldDirectory:
    """A directory locked by this process until it ends; made when missing."""

    def __init__(self, path: Path, temporary: bool, lock: int):
        self.path = path
        self.temporary = temporary
        self._lock = lock

    def remember(self, pids: Mapping[str, int]) -> None:
        """Note the servers' process ids: the next holder waits for the last breath of servers killed with us."""
        os.truncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps({"guardian": os.getpid(), "servers": list(pids.values())}).encode(), 0)

    def release(self) -> None:
        """Give the directory back; a temporary one is removed."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            os.truncate(self._lock, 0)
        os.close(self._lock)


def hold_directory(path: Path) -> HeldDirectory:
    """The directory at `path`, kept after use.

    Raises: StartupError when another stack holds it, or it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartupError(f"cannot use the directory {path}: {error.strerror}; choose another one") from error
    if not _locked(lock):
        guardian = _remembered(lock).get("guardian", "of another ingestd")
        os.close(lock)
        raise StartupError(f"{path} is in use by process {guardian}: stop that one, or choose another directory")
    # A holder killed with -9 takes its servers along, but they need a moment, and two servers must not share files.
    servers = _remembered(lock).get("servers", [])
    if not wait_until(lambda: not any(_works_in(pid, path) for pid in servers), _LAST_BREATH_SECS):
        os.close(lock)
        raise StartupError(f"a server of an earlier run still works in {path} (processes {servers}): end it first")
    return HeldDirectory(path, False, lock)


def hold_temporary_directory() -> HeldDirectory:
    """A new directory, removed at release; those of killed holders are removed now."""
    _sweep()
    # Locked before it has the name that a sweep looks for.
    hidden = Path(tempfile.mkdtemp(prefix="." + _TEMPORARY_PREFIX))
    # Others may pass through (PostgreSQL has its own user), but not list.
    hidden.chmod(0o711)
    lock = os.open(hidden / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    _locked(lock)
    path = hidden.with_name(hidden.name[1:])
    hidden.rename(path)
    return HeldDirectory(path, True, lock)


def _sweep() -> None:
    for path in Path(tempfile.gettempdir()).glob(_TEMPORARY_PREFIX + "*"):
        try:
            if path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            if _locked(lock):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remembered(lock: int) -> dict[str, list[int]]:
    try:
        found: dict[str, list[int]] = json.loads(os.pread(lock, 4096, 0) or b"{}")
    except ValueError:
        return {}
    return found


def _works_in(pid: int, path: Path) -> bool:
    try:
        return os.fsencode(path) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
