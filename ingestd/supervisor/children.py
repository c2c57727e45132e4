"""Forking children and ending them: what every child process has in common. Knows nothing of what a child does.

Signals of a child: SIGTERM finishes the work in flight and exits 0, SIGABRT writes the stacks of all threads to
standard error and dies, and the parent's death kills it. SIGINT and SIGHUP do nothing.
"""

import ctypes
import faulthandler
import os
import random
import signal
import sys
import time
from collections.abc import Callable

from ingestd.board import Board, SlotCell
from ingestd.errors import ExitCode, IngestdError
from ingestd.logs import get_logger
from ingestd.signals import Stop
from ingestd.supervisor.sole import is_stopped

log = get_logger()

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
ABORT_SECS = 5.0
"""How long a stuck child may take to dump its stacks before it is killed."""
STOPPED_SECS = 4.0
"""How long a child that a signal has stopped may keep the others waiting."""
FIRST_BEAT_SECS = 60.0
"""Added to the patience for a child that has not yet beaten: imports, connections, a claim."""


class Child:
    """A running child as the supervisor sees it."""

    def __init__(self, name: str, pid: int, slot: int, board: Board) -> None:
        self.name = name
        self.pid = pid
        self.slot = slot
        self.started_at = time.monotonic()
        self.stopping = False
        """It was asked to stop: its exit is expected."""
        self.killed = False
        self.kill_at: float | None = None
        self._board = board
        self._last_beat = 0
        self._quiet_secs = 0.0
        self._stopped_secs = 0.0
        board.set_slot(slot, SlotCell.PID, pid)

    def has_beaten(self) -> bool:
        return self._board.slot(self.slot, SlotCell.BEAT_NS) != 0

    def ask_to_stop(self, now: float, patience_secs: float) -> None:
        """SIGTERM; killed when it has not gone within the patience. Asking again can only shorten it."""
        if not self.stopping:
            self.stopping = True
            os.kill(self.pid, signal.SIGTERM)
        deadline = now + patience_secs
        self.kill_at = deadline if self.kill_at is None else min(self.kill_at, deadline)

    def kill_if_overdue(self, now: float) -> None:
        """SIGKILL once its patience is over."""
        if self.kill_at is not None and now >= self.kill_at and not self.killed:
            log.warning("child killed", child=self.name, pid=self.pid, why="did not stop in time")
            self.kill()

    def kill(self) -> None:
        self.killed = True
        os.kill(self.pid, signal.SIGKILL)

    def abort_if_stuck(self, now: float, elapsed_secs: float, stuck_after_secs: float) -> None:
        """SIGABRT when its loop has not turned for too long; `kill_if_overdue` follows.

        `elapsed_secs` is the caller's own time since the last look: a daemon that was stopped as a whole and goes on
        must not take the pause for its children's.
        """
        beat = self._board.slot(self.slot, SlotCell.BEAT_NS)
        self._quiet_secs = self._quiet_secs + elapsed_secs if beat == self._last_beat else 0.0
        self._last_beat = beat
        limit = stuck_after_secs if beat else stuck_after_secs + FIRST_BEAT_SECS
        if self._quiet_secs <= limit or self.kill_at is not None:
            return
        log.error("child stuck", child=self.name, pid=self.pid, quiet_secs=round(self._quiet_secs, 1))
        os.kill(self.pid, signal.SIGABRT)
        self.kill_at = now + ABORT_SECS

    def kill_if_stopped(self, elapsed_secs: float) -> None:
        """SIGKILL when a signal has stopped it for some seconds, for stores where it may have the only write lock."""
        self._stopped_secs = self._stopped_secs + elapsed_secs if is_stopped(self.pid) else 0.0
        if self._stopped_secs > STOPPED_SECS and not self.killed:
            log.error("child killed", child=self.name, pid=self.pid, why="stopped by a signal; the others wait for it")
            self.kill()

    def reap(self) -> int | None:
        """Its exit code when it has ended (negative: the signal that ended it), else None."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self._board.set_slot(self.slot, SlotCell.PID, 0)
        return os.waitstatus_to_exitcode(status)


def fork_child(
    name: str,
    slot: int,
    board: Board,
    body: Callable[[Stop], int],
    close_fds: Callable[[], None],
    configure_log: Callable[[str], None],
) -> Child:
    """A new process that runs `body` and exits with its code.

    `close_fds` closes what belongs to the parent and to other children. Raises: OSError when the system is out of
    processes or memory: try again later.
    """
    board.set_slot(slot, SlotCell.BEAT_NS, 0)
    board.set_slot(slot, SlotCell.RSS_BYTES, 0)
    board.set_slot(slot, SlotCell.STARTED_NS, time.monotonic_ns())
    parent = os.getpid()
    # A signal between fork and the child's own handlers would be taken by the parent's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _live(name, parent, body, close_fds, configure_log)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return Child(name, pid, slot, board)


def _live(
    name: str,
    parent: int,
    body: Callable[[Stop], int],
    close_fds: Callable[[], None],
    configure_log: Callable[[str], None],
) -> None:
    """The child's whole life; never returns."""
    code = int(ExitCode.CRASH)

    def live() -> int:
        die_with_parent(parent)
        stop = Stop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        close_fds()
        set_process_name("ingestd-" + name.replace("worker-", "w").replace("membership", "member"))
        random.seed()
        faulthandler.enable(file=sys.__stderr__ or 2, all_threads=True)
        configure_log(name)
        return body(stop)

    try:
        code = run_body(live)
    finally:
        # Not sys.exit: the parent's exit handlers and buffers are not the child's to run.
        os._exit(code)


def run_forked(body: Callable[[], int]) -> int:
    """Run `body` in a short-lived child and wait for it: its exit code. For work whose libraries must not stay here."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = int(ExitCode.CRASH)
        try:
            die_with_parent(parent)
            code = run_body(body)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_body(body: Callable[[], int]) -> int:
    """The exit code of `body`; an error is logged as one line, a defect with its traceback."""
    try:
        return int(body())
    except IngestdError as error:
        log.error("child failed", error=str(error))
        return int(error.exit_code)
    except Exception:
        log.exception("child crashed")
        return int(ExitCode.CRASH)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies; exits at once when that has happened already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(ExitCode.ABORTED)


def set_process_name(name: str) -> None:
    """The name in `ps -o comm` and `top`; the kernel keeps 15 bytes."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def describe_exit(code: int) -> str:
    """ "exit code 3 (STARTUP)" or "killed by SIGSEGV"."""
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    name = ExitCode(code).name if code in set(ExitCode) else "unknown"
    return f"exit code {code} ({name})"
