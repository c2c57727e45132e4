"""A process that starts a stack and can be killed, and how to see that processes are gone.

As a program: `python -m tests.embedded.parents wait|fork|raise [--no-kafka]` starts a stack, prints one JSON line, and
then waits, forks a child that waits with it, or raises.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ingestd.embedded.stack import start_stack


class Parent(NamedTuple):
    """A running parent and what it started."""

    pid: int
    guardian: int
    servers: list[int]
    directory: Path
    forked: int | None


@contextmanager
def running_parent(behaviour: str, *options: str) -> Iterator[Parent]:
    """The parent once its servers run; what is left of it is killed at the end."""
    command = [sys.executable, "-m", "tests.embedded.parents", behaviour, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    forked: int | None = None
    try:
        told = json.loads(process.stdout.readline())
        forked = told["forked"]
        pids = told["pids"]
        servers = [pid for name, pid in pids.items() if name != "guardian"]
        yield Parent(process.pid, pids["guardian"], servers, Path(told["directory"]), forked)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if forked is not None:
            os.kill(forked, signal.SIGKILL)


def gone(pids: Iterable[int], timeout_secs: float) -> bool:
    """Whether all of the processes end in time; one that only waits for its parent to notice has ended."""
    deadline = time.monotonic() + timeout_secs
    left = list(pids)
    while left := [pid for pid in left if _exists(pid)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def main(behaviour: str, with_kafka: bool) -> None:
    """What the parent does."""
    stack = start_stack(kafka=with_kafka)
    forked = os.fork() if behaviour == "fork" else None
    if forked != 0:
        print(json.dumps({"pids": stack.pids, "directory": str(stack.directory), "forked": forked}), flush=True)
    if behaviour == "raise":
        raise RuntimeError("without stopping the stack")
    with suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], "--no-kafka" not in sys.argv)
