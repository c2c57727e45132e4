"""Child processes that die with this one, and free ports for them. Knows nothing of Kafka or PostgreSQL."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ingestd.errors import StartupError

_LAUNCH = Path(__file__).with_name("launch.py")
# Below the range that the kernel hands to outgoing connections (32768 and up): a client that reconnects to a stopped
# server could otherwise be given the server's own port, and a restart on the same port would find it taken.
_PORTS = range(15_000, 32_000)


class Account(NamedTuple):
    """The system user a program runs as."""

    name: str
    uid: int
    gid: int


def launch_command(
    command: Sequence[str | Path], death_signal: signal.Signals, account: Account | None = None
) -> list[str]:
    """The command line that runs `command` until the thread that starts it ends (then it gets `death_signal`)."""
    who = f"{account.uid}:{account.gid}" if account else ":"
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(int(death_signal)), who]
    return launcher + [str(part) for part in command]


def spawn(
    command: Sequence[str | Path],
    log_path: Path,
    death_signal: signal.Signals,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """A running child in a session of its own, writing to `log_path`; it gets `death_signal` when this thread ends."""
    with open(log_path, "ab") as log:
        return subprocess.Popen(
            launch_command(command, death_signal, account),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=log_path.parent,
            env=None if environment is None else dict(environment),
        )


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens now."""
    found: list[int] = []
    for port in random.sample(_PORTS, 1000):
        if port_is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise StartupError("no free port on 127.0.0.1 between 15000 and 32000: stop what listens there")


def port_is_free(port: int) -> bool:
    """Whether 127.0.0.1:port could be bound now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], bool], timeout_secs: float, pause_secs: float = 0.02) -> bool:
    """Whether `condition` became true in time."""
    deadline = time.monotonic() + timeout_secs
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_secs)
    return True


def end_child(child: subprocess.Popen[bytes], first: signal.Signals, timeout_secs: float) -> None:
    """Send `first`, wait, and kill what is still there after `timeout_secs`; returns when the child is reaped."""
    if child.poll() is not None:
        return
    child.send_signal(first)
    try:
        child.wait(timeout_secs)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def last_words(log_path: Path, *marks: str) -> str:
    """From a log: the last line with the first of the marks that occurs, cut to start there; else the last line."""
    try:
        lines = [line.strip() for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    for mark in marks:
        marked = [line for line in lines if mark in line]
        if marked:
            return marked[-1][marked[-1].index(mark) :][:300]
    return lines[-1][:300] if lines else ""


def java_environment() -> dict[str, str]:
    """Our environment without JAVA_TOOL_OPTIONS and its like, which would change the runtime behind our back."""
    foreign = ("JAVA_", "JDK_", "KAFKA_", "CLASSPATH")
    return {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
