"""What the user of a demo asked for, and asks for while it runs. Knows nothing of what is shown."""

import contextlib
import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ingestd.errors import StartupError

if TYPE_CHECKING:
    from ingestd.demo.daemon import Daemon

FACTORS = {"+": 1.5, "=": 1.5, "-": 1 / 1.5}
"""What a key does to the rate."""
KEYS = "+ and - change the rate, Ctrl-C ends"
STEP_SECS = 0.05
_FIRST_ROWS_SECS = 60.0


class Asked(NamedTuple):
    """Rate and length as the command line has them, when it began, and whether it is time to end."""

    per_sec: float
    seconds: float | None
    began: float
    stop: threading.Event

    def secs(self) -> float:
        """How long ago the command began."""
        return time.monotonic() - self.began

    def wait_for(self, what: str, is_there: Callable[[], bool], daemon: "Daemon", check: Callable[[], None]) -> bool:
        """Wait for the daemon's first rows; False when asked to stop before.

        Raises: StartupError with its last words when nothing comes, and what `check` raises.
        """
        deadline = time.monotonic() + _FIRST_ROWS_SECS
        while not self.stop.is_set():
            if is_there():
                return True
            check()
            if time.monotonic() > deadline:
                raise StartupError(f"no {what} after {_FIRST_ROWS_SECS:.0f} s: {daemon.last_log_line()}")
            time.sleep(STEP_SECS)
        return False


@contextlib.contextmanager
def pressed_keys() -> Iterator[Callable[[], str]]:
    """Yields a function that returns the key pressed since the last call, or ""."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield lambda: ""
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)

    def pressed() -> str:
        readable, _, _ = select.select([terminal], [], [], 0)
        return os.read(terminal, 1).decode(errors="ignore") if readable else ""

    try:
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
