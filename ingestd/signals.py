"""Signals as values: a queue for the supervisor's loop, a stop request for a child. Knows nothing of what they mean.

The Python handlers do nothing; `signal.set_wakeup_fd` writes the signal's number into a pipe even while the main
thread is inside a C library, and whoever waits selects on that pipe.
"""

import os
import select
import signal
from collections.abc import Iterable
from types import FrameType


def ignore_in_handler(signum: int, frame: FrameType | None) -> None:
    """The handler: the number is in the pipe already."""


class SignalQueue:
    """Signals of this process, in order of arrival; main thread only.

    `fileno()` is readable while signals wait; use it in a selector.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for signum in signals:
            signal.signal(signum, ignore_in_handler)

    def fileno(self) -> int:
        return self._read

    def take(self) -> list[signal.Signals]:
        """The signals that arrived since the last call."""
        try:
            return [signal.Signals(number) for number in os.read(self._read, 4096)]
        except BlockingIOError:
            return []

    def close_fds(self) -> None:
        """For a forked child: the queue belongs to the parent."""
        os.close(self._read)
        os.close(self._write)


class Stop:
    """A child's order to finish what is in flight and exit 0: SIGTERM. Any thread may ask.

    SIGINT and SIGHUP are ignored: a terminal sends them to all of the group, and the supervisor decides.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, ignore_in_handler)
        for signum in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(signum, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def requested(self) -> bool:
        """Whether SIGTERM has arrived."""
        return self.wait(0)

    def wait(self, timeout_secs: float) -> bool:
        """Wait at most this long for the order; True when it is there."""
        # A poll object of its own for every call: it refuses to be shared by threads.
        order = select.poll()
        order.register(self._read, select.POLLIN)
        return bool(order.poll(max(0.0, timeout_secs) * 1000))

    def fileno(self) -> int:
        """Readable once the order is there, and for ever after: never read it."""
        return self._read
