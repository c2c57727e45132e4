"""A TCP proxy in front of a real server, to cut, stall and refuse connections at a chosen moment."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

_CHUNK_BYTES = 65536


class Proxy:
    """Listens on a port of 127.0.0.1 and passes everything on to host:port.

    Every method returns when its effect holds. After a cut new connections are served again.
    """

    def __init__(self, host: str, port: int):
        self._target = (host, port)
        self._lock = threading.Lock()
        self._moving = threading.Event()
        self._moving.set()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._trigger: Callable[[bytes], bool] | None = None
        self._fired = threading.Event()
        self._forward = False
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        """Accept connections (again), on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._run(self._accept, listener)

    def stop(self) -> None:
        """Refuse new connections and cut the open ones."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # shutdown wakes the thread in accept(); close alone leaves the port listening until it returns.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset every open connection, on both sides."""
        with self._lock:
            self._cut_locked()

    def stall(self) -> None:
        """Stop moving bytes; connections stay open."""
        self._moving.clear()

    def resume(self) -> None:
        """Move bytes again."""
        self._moving.set()

    def cut_after(self, n_bytes: int) -> threading.Event:
        """Cut everything once the clients have sent n_bytes more in sum; the event is set by then."""
        left = [n_bytes]

        def enough(chunk: bytes) -> bool:
            left[0] -= len(chunk)
            return left[0] <= 0

        return self.cut_when(enough)

    def cut_when(self, predicate: Callable[[bytes], bool], forward: bool = False) -> threading.Event:
        """Cut everything, once, when `predicate(bytes sent by a client)` is true; the event is set by then.

        The bytes that fired are withheld from the server, or with `forward=True` delivered just before the cut (a
        COMMIT that arrives and whose answer is lost).
        """
        fired = threading.Event()
        with self._lock:
            self._trigger, self._fired, self._forward = predicate, fired, forward
        return fired

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="proxy")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    _reset(client)
                    _reset(server)
                    return
                self._pairs[client] = server
            self._run(self._pump, client, server, True)
            self._run(self._pump, server, client, False)

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while self._pass_on(source, sink, from_client):
                pass
        except (OSError, ValueError):
            # Cut while we read or wrote; ValueError is select on a closed socket.
            pass
        with self._lock:
            client, server = (source, sink) if from_client else (sink, source)
            if self._pairs.get(client) is server:
                del self._pairs[client]
                _close(client)
                _close(server)

    def _pass_on(self, source: socket.socket, sink: socket.socket, from_client: bool) -> bool:
        readable, _, _ = select.select([source], [], [], 0.5)
        self._moving.wait()
        if not readable:
            return True
        chunk = source.recv(_CHUNK_BYTES)
        if not chunk:
            return False
        if from_client:
            with self._lock:
                if self._trigger is not None and self._trigger(chunk):
                    self._trigger = None
                    if self._forward:
                        sink.sendall(chunk)
                    self._cut_locked()
                    self._fired.set()
                    return False
        sink.sendall(chunk)
        return True

    def _cut_locked(self) -> None:
        pairs, self._pairs = self._pairs, {}
        for client, server in pairs.items():
            _reset(client)
            _reset(server)


def _reset(end: socket.socket) -> None:
    """Close with RST, as a crashed network does."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _close(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.close()


MakeProxy = Callable[[str, int], Proxy]


@pytest.fixture
def proxy() -> Iterator[MakeProxy]:
    """`proxy(host, port)` makes a Proxy; connect to 127.0.0.1:proxy.port."""
    made: list[Proxy] = []

    def make(host: str, port: int) -> Proxy:
        made.append(Proxy(host, port))
        return made[-1]

    yield make
    for one in made:
        one.resume()
        one.stop()
