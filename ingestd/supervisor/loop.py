"""The parent of all: starts, watches, restarts and stops the membership, the workers, the status process, the keeper.

A single-threaded loop of verbs. Knows no Kafka, database or Arrow library: what the children do comes as callables.
"""

import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ingestd import logs, run_id
from ingestd.board import Board, Lane, LaneState, Slot, read_topic
from ingestd.channel import Channel, channel_pair
from ingestd.config.options import Config
from ingestd.errors import ConfigError, ExitCode, StartupError
from ingestd.planning import TopicPartition, WorkerPlan
from ingestd.signals import SignalQueue, Stop
from ingestd.supervisor.catch_up import Progress, catch_up_progress, partitions_not_rolled
from ingestd.supervisor.children import Child, fork_child
from ingestd.supervisor.fleet import BOOT_ATTEMPTS, Fleet
from ingestd.supervisor.group_view import GroupView
from ingestd.supervisor.siblings import Sibling, needs_keeper
from ingestd.supervisor.sole import default_workers, is_sole
from ingestd.supervisor.systemd import Notifier

log = logs.get_logger()

TICK_SECS = 1.0
BUSY_TICK_SECS = 0.05
"""The loop's pace while something is due or awaited; otherwise it sleeps TICK_SECS and costs next to nothing."""
SAME_ORDER_SECS = 0.5
"""A terminal and a wrapper may both pass on one Ctrl-C; only a signal later than this is a second one."""
PAUSE_SECS = 5.0
"""A loop that turned this late was stopped or starved; the group may have expelled this host meanwhile."""
LEAVE_SECS = 10.0
SIDE_STOP_SECS = 3.0


@dataclass(frozen=True)
class Targets:
    """What the children run; each returns its exit code."""

    worker: Callable[[Config, WorkerPlan, Board, Stop], int]
    membership: Callable[[Config, Board, Channel, Stop], int]
    status: Callable[[Config, Board, Stop], int] | None
    keeper: Callable[[Config, Board, Stop], int] | None = None
    """Started when the configuration gives it something to do."""


def _no_redaction(config: Config) -> logs.Redact:
    return str


@dataclass(frozen=True)
class Options:
    """How this run differs from any other run of the same configuration."""

    reload: Callable[[], Config]
    """Loads the configuration again, for HUP. Raises: ConfigError, and the old one stays."""
    redaction: Callable[[Config], logs.Redact] = _no_redaction
    until_caught_up: bool = False
    notifier: Notifier = field(default_factory=Notifier)
    check: Callable[[], None] = lambda: None
    """Called at every turn. Raises: StartupError when a server that the daemon itself runs has ended."""
    end_run: Callable[[Config, Board], None] = lambda config, board: None
    """Called when the run is over: its children have ended, and their counters stand still."""


class Supervisor:
    """`run()` returns the daemon's exit code when all children have ended."""

    def __init__(self, config: Config, targets: Targets, options: Options) -> None:
        self._targets = targets
        self._options = options
        self._signals = SignalQueue([signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1])
        self._exit_code: ExitCode | None = None
        """Set: all is being stopped, and this is how the daemon ends."""
        self._reloading: Config | None = None
        """Set: all is being stopped, and goes on with this configuration."""
        self._ordered_at = 0.0
        self._turned_at = time.monotonic()
        self._watchdog_at = 0.0
        self._told = ""
        self._ready = False
        self._begin(config)

    def run(self) -> int:
        """The loop; see the verbs."""
        while True:
            self._wait()
            self._take_signals()
            self._take_messages()
            self._reap()
            self._kill_overdue_and_stuck()
            self._advance_stop()
            if self._exit_code is not None and not self._children():
                self._options.end_run(self._config, self._board)
                self._options.notifier.send("STOPPING=1")
                return self._final_code()
            self._start_missing()
            self._check_servers()
            self._check_caught_up()
            self._report()

    def _begin(self, config: Config) -> None:
        """A fresh board and nothing running."""
        self._config = config
        self._board = Board()
        self._membership = Sibling("membership", Slot.MEMBERSHIP)
        wants_status = config.status.enabled and self._targets.status is not None
        self._status = Sibling("status", Slot.STATUS, self._targets.status if wants_status else None)
        self._keeper = Sibling("keeper", Slot.KEEPER, self._targets.keeper if needs_keeper(config) else None)
        self._group: GroupView | None = None
        self._log_ends: dict[TopicPartition, int] | None = None
        self._fleet = Fleet(
            self._board,
            config.pipeline,
            config.workers.max_workers or default_workers(config),
            config.workers.restart_backoff,
            self._fork_worker,
        )
        self._configure_log("supervisor")

    # --- waiting

    def _wait(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._signals, selectors.EVENT_READ)
            if self._group is not None and not self._group.channel.closed:
                selector.register(self._group.channel, selectors.EVENT_READ)
            selector.select(self._pause_secs())

    def _pause_secs(self) -> float:
        now = time.monotonic()
        group = self._group
        busy = self._is_stopping() or (group is not None and bool(group.revoking))
        if busy or self._options.until_caught_up or any(child.kill_at for child in self._children()):
            return BUSY_TICK_SECS
        starts = [one.start_at for one in self._siblings() if one.child is None]
        if group is not None and group.assigned is not None:
            starts.append(self._fleet.next_start() or now + TICK_SECS)
        due = min(starts, default=now + TICK_SECS)
        watchdog = self._options.notifier.watchdog_secs or TICK_SECS
        return min(max(due - now, BUSY_TICK_SECS), TICK_SECS, watchdog / 2)

    # --- verbs

    def _take_signals(self) -> None:
        for signum in self._signals.take():
            if signum in (signal.SIGTERM, signal.SIGINT):
                self._handle_stop_order(signum)
            elif signum == signal.SIGHUP:
                self._handle_reload_order()
            elif signum == signal.SIGUSR1:
                self._log_summary()

    def _handle_stop_order(self, signum: signal.Signals) -> None:
        now = time.monotonic()
        if self._exit_code is None:
            self._ordered_at = now
            self._stop(ExitCode.OK, f"{signum.name}; a second one aborts")
        elif now - self._ordered_at > SAME_ORDER_SECS:
            log.warning("aborting", why=f"second {signum.name}")
            for child in self._children():
                child.kill()
            self._exit_code = ExitCode.ABORTED

    def _stop(self, code: ExitCode, why: str) -> None:
        """Drain the workers, then leave the group, then end the status page; the daemon ends with `code`."""
        log.info("stopping", why=why)
        self._options.notifier.send("STOPPING=1", "STATUS=stopping: workers finish their batches")
        self._exit_code = code
        self._drain()

    def _handle_reload_order(self) -> None:
        if self._is_stopping():
            return
        try:
            config = self._options.reload()
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload refused, the old configuration stays", problem=problem)
            return
        log.info("reloading")
        self._options.notifier.reloading()
        self._reloading = config
        self._drain()

    def _drain(self) -> None:
        self._fleet.assign(frozenset(), time.monotonic(), self._config.workers.drain_timeout)

    def _take_messages(self) -> None:
        if self._group is None:
            return
        self._group.take(self._follow_assignment, lambda lost: self._fleet.lose(lost, time.monotonic()))
        if self._group.revoking and not self._fleet.hold(self._group.revoking):
            self._group.answer_drained()
        self._group.channel.flush()
        self._log_ends = self._log_ends or self._group.log_ends

    def _follow_assignment(self) -> None:
        group = self._group
        if group is not None and group.assigned is not None and not self._is_stopping():
            self._fleet.assign(group.assigned, time.monotonic(), self._config.workers.drain_timeout)

    def _reap(self) -> None:
        now = time.monotonic()
        killed = any(worker.child.killed and worker.child.stopping for worker in self._fleet.running.values())
        self._fleet.reap(now)
        if killed and self._exit_code == ExitCode.OK:
            self._exit_code = ExitCode.ABORTED
        if self._fleet.fatal is not None and not self._is_stopping():
            self._stop(self._fleet.fatal, f"a worker failed to start {BOOT_ATTEMPTS} times in a row")
        for sibling in self._siblings():
            code = sibling.child.reap() if sibling.child is not None else None
            if sibling.child is not None and code is not None:
                self._note_sibling_exit(sibling, sibling.child, code, now)

    def _note_sibling_exit(self, sibling: Sibling, child: Child, code: int, now: float) -> None:
        sibling.child = None
        if sibling is self._membership and self._group is not None:
            # Not a revoke: the workers go on, but nothing starts until a new membership has reported.
            self._group.channel.close()
            self._group = None
        if child.stopping:
            return
        sibling.note_failure(child, code, now, self._config.workers.restart_backoff)
        if self._is_stopping():
            return
        # Ingestion ends with its membership only: it does not wait for a page that cannot have its port.
        if sibling is self._membership and sibling.boot_failures >= BOOT_ATTEMPTS:
            self._stop(ExitCode(code), f"{child.name} failed to start {BOOT_ATTEMPTS} times in a row")
        elif sibling is self._membership and code == ExitCode.HALTED:
            self._stop(ExitCode.HALTED, f"{child.name} waits for a decision; the log says which")

    def _kill_overdue_and_stuck(self) -> None:
        now = time.monotonic()
        late_secs = now - self._turned_at
        self._turned_at = now
        if late_secs > PAUSE_SECS:
            log.warning("the supervisor was stopped or starved", for_secs=round(late_secs, 1))
            self._fleet.distrust(now)
        for child in self._children():
            child.kill_if_overdue(now)
            elapsed_secs = min(late_secs, 2 * TICK_SECS)
            if is_sole(self._config):
                child.kill_if_stopped(elapsed_secs)
            if child is not self._status.child or child.has_beaten():
                child.abort_if_stuck(now, elapsed_secs, self._config.workers.stuck_after)

    def _advance_stop(self) -> None:
        """Once the workers are gone the membership goes; after it keeper and status page; then the next life."""
        if not self._is_stopping() or self._fleet.running:
            return
        now = time.monotonic()
        if self._membership.child is not None:
            if self._reloading is not None and self._exit_code is None and self._group is not None:
                self._group.channel.send({"op": "stay"})
            self._membership.child.ask_to_stop(now, LEAVE_SECS)
        elif self._children():
            for child in self._children():
                child.ask_to_stop(now, SIDE_STOP_SECS)
        elif self._exit_code is None and self._reloading is not None:
            config, self._reloading = self._reloading, None
            self._ready = False
            self._options.end_run(self._config, self._board)
            run_id.begin()
            self._begin(config)

    def _start_missing(self) -> None:
        if self._is_stopping():
            return
        now = time.monotonic()
        if self._membership.child is None and now >= self._membership.start_at:
            self._fork_membership()
        for sibling in (self._status, self._keeper):
            if sibling.body is not None and sibling.child is None and now >= sibling.start_at:
                self._fork_side(sibling, sibling.body)
        group = self._group
        if group is not None and group.assigned is not None and self._fleet.start_due(now, group.confirmed_at):
            group.ask_confirmation(now)

    def _check_servers(self) -> None:
        if self._is_stopping():
            return
        try:
            self._options.check()
        except StartupError as error:
            self._stop(error.exit_code, str(error))

    def _check_caught_up(self) -> None:
        group = self._group
        if not self._options.until_caught_up or self._is_stopping() or group is None or self._log_ends is None:
            return
        assigned = group.assigned or frozenset()
        progress = catch_up_progress(self._log_ends, self._config.pipeline, assigned, group.committed, self._board)
        if progress is Progress.DONE:
            self._stop(ExitCode.OK, "caught up")
        elif progress is Progress.HALTED:
            self._stop(ExitCode.HALTED, "caught up, except for halted partitions")

    def _final_code(self) -> int:
        assert self._exit_code is not None
        left = partitions_not_rolled(self._board)
        if left and self._options.until_caught_up and self._exit_code == ExitCode.OK:
            log.error("the lake is not caught up", partitions=left, why="the last rows could not be committed")
            return ExitCode.CRASH
        return self._exit_code

    def _report(self) -> None:
        notifier, now = self._options.notifier, time.monotonic()
        if notifier.watchdog_secs is not None and now >= self._watchdog_at:
            self._watchdog_at = now + notifier.watchdog_secs
            notifier.send("WATCHDOG=1")
        trouble = self._group.trouble if self._group is not None else "the membership is starting"
        text = f"{len(self._fleet.running)} workers" + (f"; {trouble}" if trouble else "")
        if not self._ready and self._group is not None and self._group.up:
            self._ready = True
            log.info("ready")
            notifier.send("READY=1", f"STATUS={text}")
        elif text != self._told and not self._is_stopping():
            notifier.send(f"STATUS={text}")
        if not self._ready:
            # Kafka may be away for long; that is no reason for the manager to give up on the start.
            notifier.send("EXTEND_TIMEOUT_USEC=30000000")
        self._told = text

    def _log_summary(self) -> None:
        for lane in self._board.taken_lanes():
            cells = self._board.lane(lane)
            topic = read_topic(self._board, lane)
            state = LaneState(cells[Lane.STATE]).name
            partition, next_offset, log_end = cells[Lane.PARTITION], cells[Lane.NEXT_OFFSET], cells[Lane.LOG_END]
            log.info("lane", topic=topic, partition=partition, state=state, next_offset=next_offset, log_end=log_end)

    # --- children

    def _is_stopping(self) -> bool:
        return self._exit_code is not None or self._reloading is not None

    def _siblings(self) -> list[Sibling]:
        """The membership, and whichever of the others is wanted."""
        return [self._membership, *(one for one in (self._status, self._keeper) if one.body is not None)]

    def _children(self) -> list[Child]:
        siblings = [one.child for one in self._siblings() if one.child is not None]
        return [worker.child for worker in self._fleet.running.values()] + siblings

    def _fork_worker(self, plan: WorkerPlan) -> Child:
        name = f"worker-{plan.slot - Slot.FIRST_WORKER}"
        return self._fork(name, plan.slot, lambda stop: self._targets.worker(self._config, plan, self._board, stop))

    def _fork_membership(self) -> None:
        mine, theirs = channel_pair()
        self._group = None

        def live(stop: Stop) -> int:
            mine.close()
            return self._targets.membership(self._config, self._board, theirs, stop)

        try:
            self._membership.child = self._fork("membership", Slot.MEMBERSHIP, live)
        except OSError as error:
            self._membership.note_fork_failure(error, self._config.workers.restart_backoff)
            mine.close()
            return
        finally:
            theirs.close()
        self._group = GroupView(mine)
        if self._options.until_caught_up:
            mine.send({"op": "targets"})

    def _fork_side(self, sibling: Sibling, body: Callable[[Config, Board, Stop], int]) -> None:
        try:
            sibling.child = self._fork(sibling.name, sibling.slot, lambda stop: body(self._config, self._board, stop))
        except OSError as error:
            sibling.note_fork_failure(error, self._config.workers.restart_backoff)

    def _fork(self, name: str, slot: int, body: Callable[[Stop], int]) -> Child:
        return fork_child(name, slot, self._board, body, self._close_fds, self._configure_log)

    def _close_fds(self) -> None:
        """In a child: what belongs to the supervisor and to the membership."""
        self._signals.close_fds()
        if self._group is not None:
            self._group.channel.close()

    def _configure_log(self, name: str) -> None:
        options = self._config.log
        redact = self._options.redaction(self._config)
        try:
            logs.configure(options.level, options.format, name, redact, run_id.log_file(options.directory))
        except OSError as error:
            logs.configure(options.level, options.format, name, redact)
            log.error("the log file cannot be written", directory=options.directory, reason=str(error))
