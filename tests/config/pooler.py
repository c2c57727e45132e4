"""A proxy that lends one PostgreSQL session to its clients for a transaction at a time, as poolers do. Knows no SQL."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_PROTOCOL = struct.pack(">i", 196608)


@contextlib.contextmanager
def transaction_pooler(port: int, database: str) -> Iterator[int]:
    """The port of a pooler in front of `database` of the server at `port`, which must trust the superuser."""
    with socket.create_connection(("127.0.0.1", port)) as server, socket.create_server(("127.0.0.1", 0)) as listener:
        hello = _PROTOCOL + b"user\0postgres\0database\0" + database.encode() + b"\0\0"
        server.sendall(struct.pack(">i", len(hello) + 4) + hello)
        greeting = _until_ready(server)
        lent = threading.Lock()
        threading.Thread(target=_accept, args=(listener, server, greeting, lent), daemon=True).start()
        yield listener.getsockname()[1]
        # close() alone leaves the thread in accept() waiting.
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, server: socket.socket, greeting: bytes, lent: threading.Lock) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(client, server, greeting, lent), daemon=True).start()


def _serve(client: socket.socket, server: socket.socket, greeting: bytes, lent: threading.Lock) -> None:
    with client, contextlib.suppress(OSError, EOFError):
        while _exactly(client, struct.unpack(">i", _exactly(client, 4))[0] - 4)[:4] != _PROTOCOL:
            client.sendall(b"N")  # neither TLS nor GSSAPI here
        client.sendall(greeting)
        while client.recv(1, socket.MSG_PEEK):  # an idle client does not hold the session
            with lent:
                while _one_turn(client, server) != b"I":
                    pass


def _one_turn(client: socket.socket, server: socket.socket) -> bytes:
    """Pass on messages up to a query or sync, and the answer; the transaction status after it."""
    while True:
        kind, message = _message(client)
        if kind == b"X":
            raise EOFError
        server.sendall(message)
        if kind in b"QS":
            answer = _until_ready(server)
            client.sendall(answer)
            return answer[-1:]


def _until_ready(server: socket.socket) -> bytes:
    answer = b""
    while True:
        kind, message = _message(server)
        answer += message
        if kind == b"Z":
            return answer


def _message(source: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(source, 5)
    return head[:1], head + _exactly(source, struct.unpack(">i", head[1:])[0] - 4)


def _exactly(source: socket.socket, count: int) -> bytes:
    received = source.recv(count, socket.MSG_WAITALL) if count else b""
    if len(received) < count:
        raise EOFError
    return received
