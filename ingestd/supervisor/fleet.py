"""The workers: which run, which stop, when a dead one starts again. Knows no signal of ours, no group, no Kafka.

What is planned and what runs are two lists; every step brings the second nearer to the first. A share starts only
when none of its partitions is still held by a running worker.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from ingestd.backoff import backoff_secs
from ingestd.board import SLOTS, Board, Lane, LaneState, Slot, read_topic, take_lane, write_text
from ingestd.config.pipeline import Pipeline
from ingestd.errors import ExitCode
from ingestd.logs import get_logger
from ingestd.planning import Part, Share, TopicPartition, WorkerPlan, by_pipeline, by_topic, named, plan_workers
from ingestd.supervisor.children import Child, describe_exit

log = get_logger()

LEASE_LOST_SECS = 5.0
"""A fenced worker comes back no sooner: its daemon may be a zombie that has not yet learnt it was expelled."""
LOST_PATIENCE_SECS = 2.0
STEADY_SECS = 30.0
"""A worker that ran this long starts again as if it had never failed."""
LATE_TOPIC_SECS = 60.0
"""A topic of a pattern that comes so long after the first one was not there when the pipeline began."""
BOOT_ATTEMPTS = 3
"""So many failures in a row before the first beat, and starting again is no remedy."""


@dataclass
class Planned:
    """What is remembered of a share between its workers."""

    failures: int = 0
    boot_failures: int = 0
    start_at: float = 0.0
    confirm_after: float = 0.0
    """It may start only on an assignment confirmed by the group after this moment."""
    halted: bool = False


@dataclass
class Running:
    child: Child
    share: Share
    plan: WorkerPlan = field(repr=False)

    def lanes(self) -> list[int]:
        return [lane for part in self.plan.parts for lane in part.lanes.values()]


class Fleet:
    """The workers of this host; `start(plan)` forks one."""

    def __init__(
        self,
        board: Board,
        pipelines: Sequence[Pipeline],
        max_workers: int,
        restart_backoff_secs: float,
        start: Callable[[WorkerPlan], Child],
    ) -> None:
        self._board = board
        self._pipelines = pipelines
        self._max_workers = max_workers
        self._restart_backoff_secs = restart_backoff_secs
        self._start = start
        self._planned: dict[Share, Planned] = {}
        self._met: dict[int, dict[str, float]] = {}
        """By pipeline, when each of its topics was planned first."""
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._distrusted_at = 0.0
        self.running: dict[int, Running] = {}
        """By pid."""
        self.fatal: ExitCode | None = None
        """A worker cannot even start, again and again: the daemon must end with this code."""

    def assign(self, assigned: frozenset[TopicPartition], now: float, patience_secs: float) -> None:
        """Plan for this assignment; workers that no longer fit are asked to stop."""
        gone = self._assigned - assigned
        self._assigned = assigned
        shares = plan_workers(by_pipeline(self._pipelines, assigned), self._max_workers, self._planned)
        self._planned = {share: self._planned.get(share, Planned()) for share in shares}
        for share in shares:
            for topic in by_topic(share.partitions):
                self._met.setdefault(share.pipeline, {}).setdefault(topic, now)
        for worker in self.running.values():
            if worker.share not in self._planned:
                worker.child.ask_to_stop(now, patience_secs)
        self._leave_lanes(gone)

    def lose(self, lost: Collection[TopicPartition], now: float) -> None:
        """These partitions belong to others already: their workers get little time."""
        for worker in self.running.values():
            if self._holds(worker, lost):
                worker.child.ask_to_stop(now, LOST_PATIENCE_SECS)
        self.assign(self._assigned - frozenset(lost), now, LOST_PATIENCE_SECS)

    def hold(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether a running worker still has one of them."""
        return any(self._holds(worker, partitions) for worker in self.running.values())

    def start_due(self, now: float, confirmed_at: float) -> bool:
        """Start what is planned, free and due; True when something waits only for a newer confirmation."""
        waits = False
        for share, planned in self._planned.items():
            if planned.halted or now < planned.start_at or self._is_busy(share):
                continue
            if confirmed_at < max(planned.confirm_after, self._distrusted_at):
                waits = True
                continue
            self._start_share(share, planned, now)
        return waits

    def reap(self, now: float) -> None:
        """Take note of workers that ended, and decide when each comes back."""
        for worker in list(self.running.values()):
            code = worker.child.reap()
            if code is not None:
                del self.running[worker.child.pid]
                self._note_exit(worker, code, now)

    def distrust(self, now: float) -> None:
        """Every start from here on needs a confirmation newer than `now`."""
        self._distrusted_at = now

    def next_start(self) -> float | None:
        """When the next pause ends, or None when nothing waits."""
        waiting = [one.start_at for share, one in self._planned.items() if not one.halted and not self._is_busy(share)]
        return min(waiting, default=None)

    def _holds(self, worker: Running, partitions: Collection[TopicPartition]) -> bool:
        return any(one in partitions for one in worker.share.partitions)

    def _is_busy(self, share: Share) -> bool:
        """The share runs, or a worker on its way out still has one of its partitions."""
        return any(
            worker.share.pipeline == share.pipeline and not set(worker.share.partitions).isdisjoint(share.partitions)
            for worker in self.running.values()
        )

    def _start_share(self, share: Share, planned: Planned, now: float) -> None:
        taken = {worker.plan.slot for worker in self.running.values()}
        slot = next(slot for slot in range(Slot.FIRST_WORKER, SLOTS) if slot not in taken)
        try:
            plan = WorkerPlan(slot, share.pipeline, self._parts(share))
            child = self._start(plan)
        except (OSError, OverflowError) as error:
            planned.failures += 1
            planned.start_at = now + backoff_secs(self._restart_backoff_secs, planned.failures)
            log.error("worker not started", error=str(error), **_said(share))
            return
        self.running[child.pid] = Running(child, share, plan)
        log.info("worker started", child=child.name, pid=child.pid, **_said(share))

    def _parts(self, share: Share) -> tuple[Part, ...]:
        """Raises: OverflowError when the board has no lane left."""
        met = self._met[share.pipeline]
        late_at = min(met.values()) + LATE_TOPIC_SECS
        return tuple(
            Part(
                topic,
                numbers,
                {p: take_lane(self._board, share.pipeline, topic, p) for p in numbers},
                late=met[topic] > late_at,
            )
            for topic, numbers in by_topic(share.partitions).items()
        )

    def _note_exit(self, worker: Running, code: int, now: float) -> None:
        for lane in worker.lanes():
            self._board.set(lane, Lane.QUEUED_ROWS, 0)
            self._board.set(lane, Lane.QUEUED_BYTES, 0)
        self._leave_lanes(set(worker.share.partitions) - self._assigned)
        said = {"child": worker.child.name, **_said(worker.share)}
        planned = self._planned.get(worker.share)
        if worker.child.stopping:
            log.info("worker stopped", how=describe_exit(code), **said)
        elif planned is None:
            log.warning("worker ended", how=describe_exit(code), **said)
        elif code == ExitCode.HALTED:
            planned.halted = True
            log.error("worker halted", next="see `ingestd status`; a reload (SIGHUP) starts it again", **said)
        else:
            self._plan_restart(worker, planned, code, now)
            pause = round(planned.start_at - now, 2)
            log.warning("worker ended", how=describe_exit(code), restart_in_secs=pause, **said)

    def _plan_restart(self, worker: Running, planned: Planned, code: int, now: float) -> None:
        if now - worker.child.started_at >= STEADY_SECS:
            planned.failures = 0
        planned.failures += 1
        boots = not worker.child.has_beaten() and code in (ExitCode.STARTUP, ExitCode.USAGE)
        planned.boot_failures = planned.boot_failures + 1 if boots else 0
        if planned.boot_failures >= BOOT_ATTEMPTS:
            self.fatal = ExitCode(code)
        pause = backoff_secs(self._restart_backoff_secs, planned.failures)
        lost = code == ExitCode.LEASE_LOST
        planned.start_at = now + (max(LEASE_LOST_SECS, pause) if lost else pause)
        # The confirmation is asked for when the pause is over, not before: a zombie needs that time to learn the truth.
        planned.confirm_after = planned.start_at if lost else now
        state = LaneState.RELEASED if lost else LaneState.RETRYING
        for lane in worker.lanes():
            if self._board.get(lane, Lane.STATE) != LaneState.HALTED:
                self._board.set(lane, Lane.STATE, state)
                write_text(self._board, lane, f"worker ended: {describe_exit(code)}; it starts again")

    def _leave_lanes(self, partitions: Collection[TopicPartition]) -> None:
        """Mark lanes nobody here works on any more; those of a worker on its way out follow when it has ended."""
        for lane in self._board.taken_lanes():
            unit = (read_topic(self._board, lane), self._board.get(lane, Lane.PARTITION))
            if unit in partitions and not self.hold([unit]):
                self._board.set(lane, Lane.STATE, LaneState.UNASSIGNED)
                write_text(self._board, lane, "")


def _said(share: Share) -> dict[str, object]:
    """The share in a log line."""
    topics = by_topic(share.partitions)
    if len(topics) == 1:
        return {"topic": share.partitions[0][0], "partitions": next(iter(topics.values()))}
    return {"topics": len(topics), "partitions": named(share.partitions)}
