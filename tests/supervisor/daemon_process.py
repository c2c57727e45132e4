"""A supervisor process over fake children, and what the tests see of it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_SECS = 20.0
Event = dict[str, Any]


class Daemon:
    """The process under test and the directory that steers its fakes."""

    def __init__(self, control: Path) -> None:
        self.control = control
        self.said = 0
        self.process: subprocess.Popen[bytes] | None = None
        (control / "messages").mkdir()

    def start(self, environment: dict[str, str] | None = None, **options: Any) -> None:
        (self.control / "config.json").write_text(json.dumps(options))
        program = Path(__file__).with_name("fake_daemon.py")
        with open(self.control / "stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(program), str(self.control)],
                stderr=stderr,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def say(self, **message: Any) -> None:
        """Let the membership tell the supervisor this."""
        path = self.control / "messages" / f"{self.said}.json"
        path.with_suffix(".part").write_text(json.dumps(message))
        path.with_suffix(".part").rename(path)
        self.said += 1

    def assign(self, *partitions: int) -> None:
        self.say(event="assigned", seq=self.said, partitions=[["t", p] for p in partitions])

    def mode(self, partition: int, mode: str) -> None:
        path = self.control / f"mode-{partition}"
        path.with_suffix(".part").write_text(mode)
        path.with_suffix(".part").rename(path)

    def events(self, who: str, what: str) -> list[Event]:
        path = self.control / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [one for one in map(json.loads, lines) if (one["who"], one["what"]) == (who, what)]

    def starts(self, partition: int) -> list[Event]:
        return [one for one in self.events("worker", "start") if partition in one["partitions"]]

    def wait_for_starts(self, partition: int, count: int) -> list[Event]:
        self.wait(lambda: len(self.starts(partition)) >= count, f"start {count} of partition {partition}")
        return self.starts(partition)

    def log(self) -> str:
        return (self.control / "stderr").read_text()

    def wait(self, condition: Callable[[], bool], what: str, secs: float = DEADLINE_SECS) -> None:
        deadline = time.monotonic() + secs
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what} in vain; log:\n{self.log()}"
            time.sleep(0.01)

    def signal(self, signum: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def exit_code(self) -> int:
        assert self.process is not None
        self.wait(lambda: self.process is not None and self.process.poll() is not None, "the end of the supervisor")
        return self.process.returncode


def is_alive(pid: int) -> bool:
    """A zombie is not alive."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
