"""A worker: from claim to loss of a lease on N partitions of one topic, again and again. Knows no consumer group.

The only place that catches Retryable: close everything, wait, claim again. That is also the answer to
"did that COMMIT arrive?".
"""

import time
from collections.abc import Callable
from types import FrameType

from ingestd.backoff import backoff_secs
from ingestd.batch import Rows
from ingestd.board import Board, LaneState
from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.errors import ExitCode, Halt, LeaseLost, Retryable
from ingestd.logs import get_logger
from ingestd.planning import Part
from ingestd.sinks.open import open_sink, open_truncate
from ingestd.source.kafka import KafkaSource, check_position
from ingestd.stores.open import open_store
from ingestd.stores.store import LedgerKey
from ingestd.worker.evolution import Outgrown
from ingestd.worker.lanes import WorkerBoard
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.many_topics import first_start
from ingestd.worker.open_lake import open_lake
from ingestd.worker.reader import Handoff, Reader
from ingestd.worker.run import note_run
from ingestd.worker.source_tables import open_growth
from ingestd.worker.truncates import TruncateOrder
from ingestd.worker.writer import Prepared, Writer

_TURN_SECS = 0.5
_FIRST_BACKOFF_SECS = 0.4
_LONGEST_BACKOFF_SECS = 10.0
_READER_HANGS_AFTER_SECS = 60.0


class Worker:
    """The state that outlives a lease: what is halted, the epochs held, the ladder's and the limits' memory."""

    def __init__(self, config: cfg.Config, pipeline: cfg.Pipeline, part: Part, board: Board, beat: Callable[[], None]):
        """`pipeline` as it is for the part's topic; `beat` is called at every turn: the worker's heartbeat."""
        self._config = config
        self._pipeline = pipeline
        self._beat = beat
        self._lanes = WorkerBoard(board, part.lanes)
        self._active = list(part.partitions)
        self._late = part.late
        self._log = get_logger().bind(pipeline=self._pipeline.name, topic=self._pipeline.topic)
        key = LedgerKey(self._pipeline.name, self._pipeline.topic)
        self._store = open_store(config.store, key)
        self._evolution = open_growth(config.store, self._pipeline, self._log)
        self._lake, self._follower = open_lake(config, pipeline, self._lanes, self._log)
        self._truncates = TruncateOrder(pipeline)
        self._read_by(self._pipeline, key)
        self._stopping = False
        self._failures = 0
        """Faults in a row, with no batch committed between them."""

    def _read_by(self, pipeline: cfg.Pipeline, key: LedgerKey) -> None:
        """Decode and write by `pipeline`: the configured one, or longer by the columns of new fields."""
        self._sink = open_sink(self._config.store, pipeline)
        decode = make_decoder(pipeline, self._config.schema_registry, ignored=self._evolution.ignored)
        self._decode = self._evolution.watching(self._truncates.watching(decode))
        truncate = open_truncate(self._config.store, pipeline)
        self._writer = Writer(self._store, self._sink, key, self._limit, self._lanes, self._follower, truncate)
        self._extended = pipeline

    def _evolve(self) -> None:
        """Take over the columns that this worker or another has added."""
        if (pipeline := self._evolution.pipeline(self._store)) != self._extended:
            epochs = self._writer.epochs
            self._read_by(pipeline, LedgerKey(pipeline.name, pipeline.topic))
            self._writer.epochs = epochs

    def _limit(self, partition: int) -> DeadLetterLimit:
        place = f"{self._pipeline.topic}-{partition}"
        return DeadLetterLimit(self._pipeline.dead_letters, self._pipeline.name, place)

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Finish the batch in flight, then leave."""
        self._stopping = True

    def run(self) -> ExitCode:
        """Lease after lease until told to stop, fenced, or halted in every partition."""
        while not self._stopping:
            began = time.monotonic()
            try:
                self._run_lease()
            except Retryable as fault:
                self._failures = 1 if time.monotonic() - began > _LONGEST_BACKOFF_SECS else self._failures + 1
                self._retry(fault, self._failures)
            except LeaseLost as lost:
                self._log.warning("lease lost", reason=str(lost))
                return ExitCode.LEASE_LOST
            except Halt as halt:
                self._halt(halt)
                if not self._active:
                    return ExitCode.HALTED
        for partition in self._active:
            self._lanes.state(partition, LaneState.RELEASED)
        return ExitCode.OK

    def _run_lease(self) -> None:
        """Claim, read, commit, until stopped. Everything raised ends the lease."""
        self._evolve()
        source = KafkaSource(self._config.kafka, self._pipeline, self._config.workers.prefetch)
        self._lanes.new_handoff()
        handoff = Handoff(self._pipeline.batch, self._lanes.queued, self._prepare)
        reader = Reader(source, self._decode, handoff)
        try:
            self._claim(source)
            reader.start()
            while not self._stopping:
                self._turn(handoff, reader)
            self._lake.stop()
        except Outgrown as found:
            self._lake.stop()
            self._evolution.absorb(self._store, found)
        except Halt:
            self._lake.stop()
            raise
        finally:
            reader.stop(_READER_HANGS_AFTER_SECS) if reader.ident else None
            source.close()
            self._lake.close()
            self._store.close()

    def _prepare(self, parts: list[Rows]) -> tuple[list[Rows], Prepared | None]:
        """What the table has already, for the lake alone, and the batch for both. The reader may call it."""
        past, parts = self._lake.divide(parts)
        return past, self._writer.prepare(parts) if parts else None

    def _turn(self, handoff: Handoff, reader: Reader) -> None:
        """One batch, or half a second without one."""
        taken = handoff.take(_TURN_SECS)
        if time.monotonic() - reader.turned_at < _READER_HANGS_AFTER_SECS or handoff.rows:
            self._beat()
        if taken is not None:
            past, batch = taken
            self._lake.add_past(past)
            if batch is not None:
                self._writer.commit(batch)
        self._lake.turn()
        if taken is not None:
            self._failures = 0  # the environment works: the next fault is a new one

    def _claim(self, source: KafkaSource) -> None:
        """The lease on the active partitions; the source stands where the ledger says."""
        self._beat()
        for partition in self._active:
            self._lanes.state(partition, LaneState.CLAIMING)
        self._store.prepare()
        note_run(self._config, self._store)
        first = first_start(self._config, self._pipeline, self._late, self._store)
        topic_id, numbers = source.topic_state()
        self._truncates.topic_partitions = len(numbers)

        def first_offsets(new: list[int], first_run: bool) -> dict[int, tuple[int, str]]:
            # A partition that was added later is read from its beginning: nothing in it was ever skipped on purpose.
            partitions, start = (source.topic_state()[1], first) if first_run else (new, "earliest")
            found = source.start_offsets(sorted({*partitions, *new}), start)
            return {p: (offset, topic_id) for p, offset in found.items()}

        held = {p: e for p, e in self._writer.epochs.items() if p in self._active}
        claimed = self._store.claim(self._active, first_offsets, held)
        self._writer.epochs = {c.partition: c.epoch for c in claimed}
        self._writer.topic_ids = {c.partition: c.topic_id for c in claimed}
        for c in claimed:
            check_position(source, self._pipeline.topic, c.partition, c.next_offset, (c.topic_id, topic_id))
        with self._store.deciding():
            self._sink.attach(self._store.open())
        lake = self._lake.claim(self._extended, source, claimed, topic_id)
        for c in lake.values():
            check_position(source, self._pipeline.topic, c.partition, c.next_offset, (c.topic_id, topic_id))
        for c in claimed:
            self._lanes.claimed(c.partition, c.next_offset, c.epoch)
            self._log.info("claimed", partition=c.partition, next_offset=c.next_offset, epoch=c.epoch)
        starts = {c.partition: min(c.next_offset, lake.get(c.partition, c).next_offset) for c in claimed}
        source.seek(starts, topic_id)

    def _retry(self, fault: Retryable, failures: int) -> None:
        """Say so, and wait: jittered, doubling, with the heartbeat going on."""
        wait = backoff_secs(_FIRST_BACKOFF_SECS, failures, _LONGEST_BACKOFF_SECS)
        self._log.warning("retrying", reason=str(fault), wait_secs=round(wait, 2), failures=failures)
        for partition in self._active:
            self._lanes.state(partition, LaneState.RETRYING, str(fault))
        deadline = time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0 and not self._stopping:
            time.sleep(min(left, _TURN_SECS))
            self._beat()

    def _halt(self, halt: Halt) -> None:
        stopped = [p for p in self._active if halt.partitions is None or p in halt.partitions]
        self._active = [p for p in self._active if p not in stopped]
        for partition in stopped:
            self._lanes.state(partition, LaneState.HALTED, str(halt))
            self._log.error("partition halted", partition=partition, reason=str(halt))
