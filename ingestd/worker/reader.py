"""The reader thread: chunks read and decoded ahead of the writer, through a bounded handoff. Knows no database."""

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ingestd.batch import Chunk, Decode, Rows
from ingestd.config import options as cfg

_POLL_SECS = 0.5


class Source(Protocol):
    """Where chunks come from; see `ingestd.source.kafka.KafkaSource`."""

    def next_chunk(self, timeout_secs: float) -> tuple[Chunk | None, bool]: ...


class Handoff:
    """The next batch, filling while the writer is busy with the one before. Bounded by rows and bytes.

    `take` gives a lone record at once and lets a backlog fill the batch, for `max_wait` at most. What it gives is what
    `prepare` made of the chunks; a full batch is prepared by the reader, which has nothing better to do then, so that
    the database does not wait for it.
    """

    def __init__(
        self,
        limits: cfg.Batch,
        report: "Callable[[Handoff], None]" = lambda handoff: None,
        prepare: Callable[[list[Rows]], Any] = lambda parts: parts,
    ):
        self._limits = limits
        self._report = report
        self._prepare = prepare
        self._preparing = False
        self._prepared: Any = None
        self._changed = threading.Condition()
        self._parts: list[Rows] = []
        self._rows = 0
        self._bytes = 0
        self._more = False
        self._first_at = 0.0
        self._error: BaseException | None = None
        self._closed = False
        self.pauses = 0
        self.paused_ns = 0
        self.decode_ns = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def nbytes(self) -> int:
        return self._bytes

    def put(self, part: Rows, more: bool) -> None:
        """Add a decoded chunk; blocks while the batch is full: this is the backpressure.

        Reports while it blocks: a writer that hangs in a stalled database cannot tell anybody.
        """
        count = len(part.records) + len(part.dead) + len(part.ignored)
        with self._changed:
            if self._full(count, part.nbytes):
                self._prepare_ahead()
            if self._full(count, part.nbytes):
                self.pauses += 1
                began = time.perf_counter_ns()
                while self._full(count, part.nbytes) and not self._closed:
                    self._changed.wait(_POLL_SECS)
                    now = time.perf_counter_ns()
                    self.paused_ns, began = self.paused_ns + now - began, now
                    self._report(self)
            if not self._parts:
                self._first_at = time.monotonic()
            self._parts.append(part)
            self._rows += count
            self._bytes += part.nbytes
            self._more = more
            self._changed.notify_all()
            self._report(self)

    def _prepare_ahead(self) -> None:
        """Prepare the full batch, without the lock: the writer is busy, or waits for exactly this."""
        self._preparing, parts = True, self._parts
        self._changed.release()
        try:
            prepared = self._prepare(parts)
        finally:
            self._changed.acquire()
            self._preparing = False
            self._changed.notify_all()
        self._prepared = prepared

    def _full(self, count: int, nbytes: int) -> bool:
        if not self._parts:
            return False
        return self._rows + count > self._limits.max_rows or self._bytes + nbytes > self._limits.max_bytes

    def take(self, timeout_secs: float) -> Any:
        """The next batch, prepared, or None after `timeout_secs`.

        Raises: what the reader raised, once all that was read before it is taken; what `prepare` raises.
        """
        deadline = time.monotonic() + timeout_secs
        with self._changed:
            while (wait := self._wait_secs(deadline)) > 0:
                self._changed.wait(wait)
            prepared, self._prepared = self._prepared, None
            parts, self._parts = self._parts, []
            if not parts and self._error is not None:
                raise self._error
            self._rows = self._bytes = 0
            self._changed.notify_all()
        if not parts:
            return None
        return self._prepare(parts) if prepared is None else prepared

    def _wait_secs(self, deadline: float) -> float:
        """How long the writer should still wait; 0 when the batch should go."""
        if self._preparing:
            return _POLL_SECS
        if self._error is not None or self._closed:
            return 0
        now = time.monotonic()
        if not self._parts:
            return deadline - now
        chunk_rows = self._rows // len(self._parts)
        if not self._more or self._full(chunk_rows, self._bytes // len(self._parts)):
            return 0
        return self._first_at + self._limits.max_wait - now

    def idle(self) -> None:
        """The source has nothing more at hand: what is there should go now."""
        with self._changed:
            if self._more:
                self._more = False
                self._changed.notify_all()
            self._report(self)

    def fail(self, error: BaseException) -> None:
        """Let the writer raise `error` after it has taken what was read before it."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of a blocked reader and a waiting writer."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Reader(threading.Thread):
    """Reads and decodes until stopped. Anything it raises comes out of `Handoff.take`."""

    def __init__(self, source: Source, decode: Decode, handoff: Handoff):
        super().__init__(name="reader", daemon=True)
        self._source = source
        self._decode = decode
        self._handoff = handoff
        self._stopping = threading.Event()
        self.turned_at = time.monotonic()
        """When the loop last came round, or stood in `put`: a reader that hangs stops the worker's heartbeat."""

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.turned_at = time.monotonic()
                self._turn()
        except BaseException as error:
            self._handoff.fail(error)

    def _turn(self) -> None:
        chunk, more = self._source.next_chunk(_POLL_SECS)
        if chunk is None:
            self._handoff.idle()
            return
        began = time.perf_counter_ns()
        rows = self._decode(chunk)
        self._handoff.decode_ns += time.perf_counter_ns() - began
        self._handoff.put(rows, more)

    def stop(self, timeout_secs: float) -> None:
        """End the thread; what it holds undelivered will be read again after the next claim."""
        self._stopping.set()
        self._handoff.close()
        self.join(timeout_secs)
