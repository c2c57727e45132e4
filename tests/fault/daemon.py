"""The real daemon as processes: started, watched, killed. Knows nothing of what it does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-c", "import sys; from ingestd.cli import main; sys.exit(main())")
Event = dict[str, Any]


def wait_for(condition: Callable[[], object], what: str, secs: float = 60.0, said: Callable[[], str] = str) -> float:
    """Poll until it holds; the seconds it took. Fails after `secs`, with what `said()` adds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < secs, f"waited {secs:g} s in vain for {what}\n{said()}"
        time.sleep(0.02)
    return time.monotonic() - began


class Daemon:
    """One `ingestd run`; all its processes are one session, so that none can hide."""

    def __init__(self, log: Path, arguments: Sequence[str], command: Sequence[str] = COMMAND, **environment: str):
        self.log_path = log
        with open(log, "ab") as stderr:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self.pid = self.process.pid

    def pids(self, role: str = "") -> list[int]:
        """Living processes whose name begins so: ingestd-w (workers), ingestd-member, ingestd-status."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                name, rest = (path / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            except (OSError, ValueError):
                continue
            state, _, _, session = rest.split()[:4]
            if int(session) == self.pid and state not in "ZX" and name.startswith(role):
                found.append(int(path.name))
        return sorted(found)

    def workers(self) -> list[int]:
        return self.pids("ingestd-w")

    def events(self, name: str = "", after: int = 0) -> list[Event]:
        """Log lines with this event, from the `after`-th line on."""
        lines = [json.loads(line) for line in self.log().splitlines()[after:] if line.startswith("{")]
        return [line for line in lines if not name or line["event"] == name]

    def log(self) -> str:
        return self.log_path.read_text()

    def signal(self, signum: signal.Signals, whole: bool = False) -> None:
        """To the supervisor, or to every process at once."""
        (os.killpg if whole else os.kill)(self.pid, signum)

    def wait(self, condition: Callable[[], object], what: str, secs: float = 60.0) -> float:
        """As `wait_for`; the end of the log is shown when it fails."""
        return wait_for(condition, what, secs, lambda: "\n".join(self.log().splitlines()[-40:]))

    def end(self, secs: float = 30.0) -> int:
        """TERM, and the exit code; nothing may be left."""
        self.signal(signal.SIGTERM)
        return self.exit_code(secs)

    def exit_code(self, secs: float = 60.0) -> int:
        """The code of a daemon that ends by itself; nothing may be left."""
        self.wait(lambda: self.process.poll() is not None, "the end of the daemon", secs)
        self.wait(lambda: not self.pids(), "the end of all its processes", 5)
        return int(self.process.returncode)

    def destroy(self) -> None:
        """kill -9 of all that is left."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
