"""A real status server: a forked process on a free port that shares the test's board."""

import gc
import http.client
import os
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct, structs

from ingestd import logs
from ingestd.board import Board, Slot, SlotCell
from ingestd.config.options import Config
from ingestd.status.server import run_status

DEADLINE_SECS = 10.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Poll until it holds; fails after DEADLINE_SECS."""
    deadline = time.monotonic() + DEADLINE_SECS
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECS} s: {what}"
        time.sleep(0.02)


class Answer(Struct):
    status: int
    headers: dict[str, str]
    body: bytes


class Served(Struct):
    """Where the server listens, and its process."""

    board: Board
    port: int
    pid: int

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; header names are written with _ for -."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECS)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            named = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, named, response.read())
        finally:
            connection.close()


def fork_status(config: Config, board: Board, stderr: int | None = None) -> int:
    """The pid of a process that runs the status server; `stderr` is a descriptor for its log."""
    with warnings.catch_warnings():
        # The clients of other tests leave threads behind; the child uses none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        # Kafka clients that other tests left as garbage must not be collected here: their threads are not.
        gc.freeze()
        try:
            if stderr is not None:
                os.dup2(stderr, 2)
            logs.configure("info", "json", "status")
            code = run_status(config, board, Slot.STATUS)
        finally:
            os._exit(code)
    return pid


def end(pid: int) -> int:
    """SIGTERM, and the exit code; killed when it does not go."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DEADLINE_SECS
    while time.monotonic() < deadline:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the status server did not end on SIGTERM")


@contextmanager
def serving(config: Config, board: Board) -> Iterator[Served]:
    """A server that has sampled the board once; ended, with exit code 0, when the block ends."""
    port = free_port()
    host = config.status.listen.rpartition(":")[0]
    status = structs.replace(config.status, listen=f"{host}:{port}")
    pid = fork_status(structs.replace(config, status=status), board)
    try:
        eventually(lambda: board.slot(Slot.STATUS, SlotCell.BEAT_NS) > 0, "the status server beats")
        yield Served(board, port, pid)
    finally:
        code = end(pid)
    assert code == 0
