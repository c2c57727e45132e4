"""Messages between two processes over a socket pair: JSON lines, never blocking. Knows nothing of their meaning."""

import socket
from typing import Any

import orjson

Message = dict[str, Any]
READ_BYTES = 65_536
UNSENT_BYTES = 8 * 1024 * 1024


class Channel:
    """One end of the pair. What the other side does not take yet waits here and goes out with the next call."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._end = end
        self._unread = bytearray()
        self._unsent = bytearray()
        self.closed = False
        """The other side is gone; nothing is sent or received any more."""

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message) -> None:
        """Queue a message; lost when the other side is gone.

        Raises: OverflowError when the other side has taken nothing for 8 MiB: it is stopped or broken.
        """
        self._unsent += orjson.dumps(message) + b"\n"
        if len(self._unsent) > UNSENT_BYTES:
            raise OverflowError("the other process does not read its messages")
        self.flush()

    def flush(self) -> None:
        """Send what still waits, as far as it goes without blocking."""
        while self._unsent and not self.closed:
            try:
                del self._unsent[: self._end.send(self._unsent)]
            except BlockingIOError:
                return
            except OSError:
                self.closed = True

    def take(self) -> list[Message]:
        """All complete messages that have arrived; flushes as well."""
        self.flush()
        while not self.closed:
            try:
                piece = self._end.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            self.closed = not piece
            self._unread += piece
        *lines, rest = bytes(self._unread).split(b"\n")
        self._unread = bytearray(rest)
        return [orjson.loads(line) for line in lines]

    def close(self) -> None:
        self._end.close()
        self.closed = True


def channel_pair() -> tuple[Channel, Channel]:
    """Two connected ends: one stays, the other goes to the child."""
    left, right = socket.socketpair()
    return Channel(left), Channel(right)
