"""Sends the demo's sales at a rate that may be changed while it runs. Knows nothing of the daemon or of the screen."""

import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from ingestd.demo.sales import Sales

TOPIC = "sales"
PARTITIONS = 3
_SLICE_MAX = 1000
_FLUSH_SECS = 10.0


def make_topic(bootstrap_servers: str) -> None:
    """Create the demo's topic on a fresh broker."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)])[TOPIC].result(30)


class Pace:
    """Messages due at a steady rate: some every millisecond or so, not one sleep per message.

    After a stall at most `catch_up_secs` worth is made good at once, so that a stall does not become a burst.
    """

    def __init__(self, per_sec: float, catch_up_secs: float = 1.0, clock: Callable[[], float] = time.perf_counter):
        self._per_sec = per_sec
        self._catch_up = catch_up_secs
        self._clock = clock
        self._from = clock()
        self._granted = 0

    def set_rate(self, per_sec: float) -> None:
        """Another rate from now on."""
        self._per_sec, self._from, self._granted = per_sec, self._clock(), 0

    def due(self, at_most: int) -> int:
        """How many may go now; what is granted counts as gone."""
        now = self._clock()
        owed = (now - self._from) * self._per_sec - self._granted
        if owed > self._catch_up * self._per_sec:
            self._from, self._granted = now - self._catch_up, 0
            owed = self._catch_up * self._per_sec
        count = min(int(owed), at_most)
        self._granted += count
        return count

    def wait_secs(self) -> float:
        """How long until the next one is due; at least a millisecond, so that fast rates go in slices."""
        next_at = self._from + (self._granted + 1) / self._per_sec
        return max(0.001, next_at - self._clock())


class Load:
    """A thread that produces sales until it is stopped."""

    def __init__(self, bootstrap_servers: str, per_sec: float):
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "enable.idempotence": True,
                "delivery.report.only.error": True,
                "log_level": 2,
            }
        )
        self._pace = Pace(per_sec)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sales")
        self.per_sec = per_sec
        self.queued = 0
        self.failed = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def change(self, factor: float) -> None:
        """Multiply the rate, within 1 and 1,000,000 a second."""
        self.per_sec = min(1_000_000.0, max(1.0, self.per_sec * factor))
        self._pace.set_rate(self.per_sec)

    def stop(self) -> int:
        """End, wait for the broker's acknowledgments, and say how many sales it took."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        return self.queued - self.failed - self._producer.flush(_FLUSH_SECS)

    def _run(self) -> None:
        sales = Sales()
        while not self._stop.is_set():
            count = self._pace.due(_SLICE_MAX)
            if count == 0:
                self._stop.wait(min(0.1, self._pace.wait_secs()))
            for key, value in sales.take(count):
                self._send(key, value)
            self._producer.poll(0)

    def _send(self, key: bytes, value: bytes) -> None:
        while not self._stop.is_set():
            try:
                self._producer.produce(TOPIC, value, key, on_delivery=self._note_failure)
                self.queued += 1
                return
            except BufferError:
                self._producer.poll(0.05)

    def _note_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
