"""What a service manager is told (sd_notify protocol). Knows nothing of the daemon's parts."""

import os
import socket
import time


class Notifier:
    """Sends to $NOTIFY_SOCKET; without one, every call does nothing.

    The variables are removed from the environment: no child process may speak for the daemon.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        usec = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        mine = not pid or pid == str(os.getpid())
        self.watchdog_secs = int(usec) / 2e6 if self._address and usec.isdigit() and mine else None
        """Send "WATCHDOG=1" this often (half of the manager's patience); None: no watchdog."""

    def send(self, *states: str) -> None:
        """Tell the manager, e.g. send("READY=1", "STATUS=..."); a manager that does not listen is not our fault."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto("\n".join(states).encode(), self._address)
            except OSError:
                return

    def reloading(self) -> None:
        """Type=notify-reload wants the time of the reload's begin with it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
