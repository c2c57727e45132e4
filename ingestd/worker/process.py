"""The body of a worker process: one worker for each topic it carries. Knows no lease, no Kafka and no database."""

import gc
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from msgspec import structs

from ingestd.backoff import backoff_secs
from ingestd.board import Board, LaneState
from ingestd.config import options as cfg
from ingestd.config.topics import for_topic
from ingestd.errors import ExitCode, Halt, IngestdError
from ingestd.logs import get_logger
from ingestd.planning import Part, WorkerPlan
from ingestd.worker.lanes import WorkerBoard
from ingestd.worker.lease import Worker

_LOOK_SECS = 0.25
_COLLECT_EVERY_SECS = 60.0
_FIRST_BACKOFF_SECS = 1.0
_LONGEST_BACKOFF_SECS = 30.0
_LEAST_BATCH_BYTES = 1024 * 1024
_FILES_OF_PROCESS = 256
_FILES_OF_TOPIC = 40
"""14 were measured with one broker; each further broker is a connection or two, a lake has files open too."""

log = get_logger()


def run_worker(
    config: cfg.Config, plan: WorkerPlan, board: Board, stop_requested: Callable[[], bool] = lambda: False
) -> ExitCode:
    """The body of a worker process. TERM finishes the batches in flight and returns ExitCode.OK.

    `stop_requested` tells of a TERM that arrived before this handler was there (while the libraries loaded).
    Returns HALTED when every partition of every topic halted, LEASE_LOST when another worker holds one.
    """
    # Rows are reference-counted away; the collector would walk tens of thousands of live records for nothing.
    gc.disable()
    gc.freeze()
    # The reader's decoding holds the interpreter; the writer wants it back soon after each wait for the socket.
    sys.setswitchinterval(0.001)
    heart = Heart(board, plan.slot)
    pipeline = config.pipeline[plan.pipeline]
    if len(plan.parts) == 1:
        (part,) = plan.parts
        worker = Worker(config, for_topic(pipeline, part.topic), part, board, heart.beat)
        run, stop = worker.run, worker.stop
    else:
        allow_files(len(plan.parts))
        crew = Crew(shared_out(config, len(plan.parts)), plan, board, heart)
        run, stop = crew.run, crew.stop
    signal.signal(signal.SIGTERM, stop)
    if stop_requested():
        stop()
    return run()


def shared_out(config: cfg.Config, parts: int) -> cfg.Config:
    """`config` for one of so many topics in a process: memory is the process's, so each gets its part of it."""
    pipelines = tuple(
        structs.replace(
            one,
            batch=structs.replace(
                one.batch, max_bytes=cfg.Bytes(max(_LEAST_BATCH_BYTES, int(one.batch.max_bytes) // parts))
            ),
            lake=one.lake
            and structs.replace(
                one.lake,
                buffer=cfg.Bytes(max(_LEAST_BATCH_BYTES, int(one.lake.buffer) // parts)),
                max_open_files=max(1, one.lake.max_open_files // parts),
            ),
        )
        for one in config.pipeline
    )
    prefetch = cfg.Bytes(int(config.workers.prefetch) // parts)
    return structs.replace(config, pipeline=pipelines, workers=structs.replace(config.workers, prefetch=prefetch))


def allow_files(parts: int) -> None:
    """Room for the open files of so many topics, as far as the hard limit goes: the soft one is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_OF_PROCESS + parts * _FILES_OF_TOPIC
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Heart:
    """The process's heartbeat on the board; the collector, which is off, has its turn with it."""

    def __init__(self, board: Board, slot: int):
        self._board = board
        self._slot = slot
        self._collected_at = time.monotonic()

    def beat(self) -> None:
        """The work loop has turned."""
        self._board.beat(self._slot)
        if time.monotonic() - self._collected_at > _COLLECT_EVERY_SECS:
            gc.collect()  # cycles are rare: tracebacks
            self._collected_at = time.monotonic()


class Hand(threading.Thread):
    """One topic of a crew: a worker as it would be alone, with a consumer and a connection of its own."""

    def __init__(self, config: cfg.Config, pipeline: cfg.Pipeline, part: Part, board: Board):
        super().__init__(name=part.topic, daemon=True)
        self._config = config
        self._pipeline = pipeline
        self._part = part
        self._board = board
        self._worker: Worker | None = None
        self._stopping = False
        self.turned_at = 0.0
        """When its loop last turned."""
        self.code: ExitCode | None = None
        """How it ended."""

    def turn(self) -> None:
        """The worker's heartbeat."""
        self.turned_at = time.monotonic()

    def stop(self) -> None:
        """Finish the batch in flight, then leave."""
        self._stopping = True
        if self._worker is not None:
            self._worker.stop()

    def run(self) -> None:
        """Until it is stopped, fenced or halted; a defect with one topic must not end the others."""
        failures = 0
        while self.code is None:
            began = time.monotonic()
            try:
                self.code = self._work()
            except IngestdError as error:
                log.error("topic failed", topic=self._part.topic, error=str(error))
                self._show(LaneState.HALTED if isinstance(error, Halt) else LaneState.RETRYING, str(error))
                self.code = error.exit_code
            except MemoryError:
                log.exception("worker crashed", topic=self._part.topic)
                self.code = ExitCode.CRASH
            except Exception as error:
                failures = 1 if time.monotonic() - began > _LONGEST_BACKOFF_SECS else failures + 1
                log.exception("topic crashed", topic=self._part.topic, failures=failures)
                self._show(LaneState.RETRYING, f"a defect of ingestd, the log has it: {error!r}; it starts again")
                self._pause(failures)

    def _work(self) -> ExitCode:
        if self._stopping:
            return ExitCode.OK
        pipeline = for_topic(self._pipeline, self._part.topic)
        self._worker = Worker(self._config, pipeline, self._part, self._board, self.turn)
        if self._stopping:
            self._worker.stop()
        return self._worker.run()

    def _pause(self, failures: int) -> None:
        wait = backoff_secs(_FIRST_BACKOFF_SECS, failures, _LONGEST_BACKOFF_SECS)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and not self._stopping:
            self.turn()
            time.sleep(_LOOK_SECS)

    def _show(self, state: LaneState, text: str) -> None:
        lanes = WorkerBoard(self._board, self._part.lanes)
        for partition in self._part.partitions:
            lanes.state(partition, state, text)


class Crew:
    """Several topics of one pipeline in one process. It lives as long as one of them does."""

    def __init__(self, config: cfg.Config, plan: WorkerPlan, board: Board, heart: Heart):
        pipeline = config.pipeline[plan.pipeline]
        self._hands = [Hand(config, pipeline, part, board) for part in plan.parts]
        self._heart = heart
        self._beaten_at = 0.0

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Every topic finishes its batch in flight, then leaves."""
        for hand in self._hands:
            hand.stop()

    def run(self) -> ExitCode:
        """Until all have ended; one that halts leaves the others running, any other end is the end of all."""
        for hand in self._hands:
            hand.start()
        while alive := [hand for hand in self._hands if hand.is_alive()]:
            if self._must_end():
                self.stop()
            # One that hangs must be seen, however well the others do.
            if min(hand.turned_at for hand in alive) > self._beaten_at:
                self._beaten_at = time.monotonic()
                self._heart.beat()
            time.sleep(_LOOK_SECS)
        return self._code()

    def _must_end(self) -> bool:
        return any(hand.code not in (None, ExitCode.OK, ExitCode.HALTED) for hand in self._hands)

    def _code(self) -> ExitCode:
        codes = [ExitCode.CRASH if hand.code is None else hand.code for hand in self._hands]
        bad = [code for code in codes if code not in (ExitCode.OK, ExitCode.HALTED)]
        if bad:
            return ExitCode.LEASE_LOST if ExitCode.LEASE_LOST in bad else bad[0]
        return ExitCode.HALTED if all(code == ExitCode.HALTED for code in codes) else ExitCode.OK
