"""A process that wants the file for a moment is not kept waiting by one that wants it all the time."""

import fcntl
import mmap
import os
import signal
import threading
import time
from pathlib import Path

from ingestd.stores.sqlite.turns import Turns


def _hog(path: str, taken: mmap.mmap) -> None:
    turns = Turns(path)
    while True:
        with turns.turn():
            taken[0] = (taken[0] + 1) % 256
            until = time.monotonic() + 0.005
            while time.monotonic() < until:
                pass


def test_greedy_process_gives_way_after_each_transaction(tmp_path: Path) -> None:
    path, taken = str(tmp_path / "lock"), mmap.mmap(-1, 1)
    hog = os.fork()
    if hog == 0:
        _hog(path, taken)
    try:
        deadline = time.monotonic() + 10
        while taken[0] < 3:
            assert time.monotonic() < deadline
        turns, waited = Turns(path), []
        for _ in range(30):
            before = taken[0]
            with turns.turn():
                waited.append(((now := taken[0]) - before) % 256)
                until = time.monotonic() + 0.01
                while time.monotonic() < until:
                    assert taken[0] == now, "two had the turn at once"
    finally:
        os.kill(hog, signal.SIGKILL)
        os.waitpid(hog, 0)
    # The one under way, and one that began before this process could ask; on a busy machine it sometimes asks late.
    assert sorted(waited)[15] <= 2, waited


def test_turns_that_nobody_needs_any_more_keep_no_file_open(tmp_path: Path) -> None:
    def opened() -> int:
        return sum(os.readlink(f"/proc/self/fd/{fd}") == path for fd in os.listdir("/proc/self/fd") if _is_open(fd))

    path = str(tmp_path / "lock")
    turns = Turns(path)
    with turns.turn():
        assert opened() == 1
    del turns
    assert opened() == 0


def _is_open(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def test_threads_of_one_process_take_turns_in_the_order_in_which_they_asked(tmp_path: Path) -> None:
    """The kernel's lock is the process's: it would let all of its threads in."""
    path, inside, order = str(tmp_path / "lock"), [], []
    first, asked = Turns(path), [threading.Event() for _ in range(5)]

    def ask(number: int) -> None:
        turns = Turns(path)
        asked[number].set()
        with turns.turn():
            inside.append(number)
            assert inside == [number], "two had the turn at once"
            time.sleep(0.01)
            order.append(inside.pop())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    with first.turn():
        for number, thread in enumerate(threads):
            thread.start()
            asked[number].wait(10)
            deadline = time.monotonic() + 10
            while first._queue is not None and len(first._queue._waiting) <= number:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        assert not order
    for thread in threads:
        thread.join(10)
    assert order == [0, 1, 2, 3, 4]


def test_a_worker_that_ends_does_not_give_up_the_turn_of_another(tmp_path: Path) -> None:
    """Closing any descriptor of a file gives up all of the process's locks on it."""
    path = str(tmp_path / "lock")
    mine, other = Turns(path), Turns(path)
    with mine.turn():
        pass
    with other.turn():
        del mine
        pid = os.fork()
        if pid == 0:
            with open(path, "rb+") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
