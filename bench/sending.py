"""Sending messages at a pace and counting what the broker took. Knows nothing of what is in them."""

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from bench.broker import Properties
from bench.hostile import Messages
from ingestd.demo.load import Pace

CHUNK = 2000
"""Messages made, and checked, at a time: at 1,000 checking one costs a fifth more."""
GIVE_UP_MS = 30_000


class Plan(NamedTuple):
    """What to send: how many (None: until stopped), at which rate (None: as fast as possible), where to.

    `skew` is the share of messages that go to partition 0; the others are spread evenly over the rest.
    None leaves the partition to the key.
    """

    topic: str
    messages: int | None
    per_sec: float | None
    partitions: int
    skew: float | None = None


class Sent(NamedTuple):
    """What became of it: acknowledged by the broker, failed, and how long it took from first to last acknowledgment."""

    sent: int
    failed: int
    secs: float
    reason: str | None

    def line(self) -> str:
        """One honest line."""
        text = (
            f"sent {self.sent:,} failed {self.failed:,} in {self.secs:.2f} s: {self.sent / max(self.secs, 1e-9):,.0f}/s"
        )
        return f"{text} ({self.reason})" if self.reason else text


class Sending:
    """One run of a producer: `run`, ended early by `stop`, then `finish` to wait for the acknowledgments."""

    def __init__(self, properties: Properties, plan: Plan, on_progress: Callable[[int], None]):
        self._plan = plan
        self._on_progress = on_progress
        self._producer = Producer(
            {
                # murmur2 places a key where every Java client places it.
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                # Batches of a bounded run fill by themselves; a lone record must not wait for company.
                "linger.ms": 50 if plan.per_sec is None or plan.per_sec > 10_000 else 1,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 500_000,
                "queue.buffering.max.kbytes": 256_000,
                "message.timeout.ms": GIVE_UP_MS,
                # A Python callback per message would cost as much as sending it.
                "delivery.report.only.error": True,
                **properties,
            }
        )
        self._rng = random.Random(plan.topic)
        self._queued = 0
        self._failed = 0
        self._reason: str | None = None
        self._stopped = False
        self._started = time.perf_counter()

    def stop(self) -> None:
        """End `run` soon; may be called by a signal handler, which must not raise: what is queued has to be counted."""
        self._stopped = True

    def run(self, messages: Messages) -> None:
        """Send until the plan is done, `stop` was called or a message failed for good."""
        plan = self._plan
        pace = None if plan.per_sec is None else Pace(plan.per_sec)
        self._started = time.perf_counter()
        while not self._stopped and not self._failed and (plan.messages is None or self._queued < plan.messages):
            room = CHUNK if plan.messages is None else min(CHUNK, plan.messages - self._queued)
            count = room if pace is None else pace.due(room)
            if count:
                self._queue(messages.take(count))
                self._on_progress(self._queued)
            elif pace is not None:
                # poll serves failures; its own timeout has a resolution of 1 ms.
                self._producer.poll(0)
                time.sleep(min(pace.wait_secs(), 0.2))

    def finish(self) -> Sent:
        """Wait for every acknowledgment (at most as long as a message may live) and count."""
        left = self._producer.flush(GIVE_UP_MS / 1000 + 5)
        secs = time.perf_counter() - self._started
        failed = self._failed + left
        if left and self._reason is None:
            self._reason = "not acknowledged in time"
        return Sent(self._queued - failed, failed, secs, self._reason)

    def _queue(self, messages: list[tuple[bytes, bytes]]) -> None:
        produce, topic, note = self._producer.produce, self._plan.topic, self._note_failure
        places = [-1] * len(messages) if self._plan.skew is None else self._placed(len(messages))
        queued = 0
        while queued < len(messages):
            try:
                for (key, value), place in zip(messages[queued:], places[queued:], strict=True):
                    produce(topic, value, key, place, note)
                    queued += 1
            except BufferError:
                # The broker is slower than we are: this is the bench's own backpressure.
                self._producer.poll(0.05)
        self._queued += queued
        self._producer.poll(0)

    def _placed(self, count: int) -> list[int]:
        skew, others = self._plan.skew or 0.0, self._plan.partitions - 1
        rng = self._rng.random
        return [0 if not others or rng() < skew else 1 + int(rng() * others) for _ in range(count)]

    def _note_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed += 1
            self._reason = self._reason or str(error.str())
