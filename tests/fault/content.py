"""The log that flows through a fault: payments, some bad, some sent twice. Knows no daemon and no database.

Each record has a number of its own, and its Kafka key says "fate number key": what must become of it, its number, and
the number that its table key is made of (a duplicate has another record's).
"""

import threading
import time
from collections.abc import Iterator

from confluent_kafka import Producer

GOOD, DECODE, CHECK = "good", "decode", "check"
"""A row or a duplicate; refused by ingestd; refused by the table's CHECK where it has one."""
DUPLICATE_DISTANCES = (4, 2804, 1)
"""Of four partitions: the same one and batch, the same one and a later batch, another one."""


def fate_of(number: int) -> str:
    """1 % of the records is bad; some of those that a CHECK refuses have a key that a good one brings later."""
    return {7: DECODE, 145: CHECK}.get(number % 200, GOOD)


def cents_of(number: int) -> int:
    """The amount of a record in cents; the SQL of the checker says the same."""
    return number * 37 % 1_000_000 + 1


def make_record(number: int, fate: str, key_number: int) -> tuple[bytes, bytes]:
    """(key, value) of one payment."""
    cents = cents_of(number)
    amount = f"{'-' if fate == CHECK else ''}{cents // 100}.{cents % 100:02}"
    currency, at, tail = "USD", "2025-08-15T10:30:00Z", "}"
    if fate == DECODE:
        bad = number // 200 % 5
        amount = amount + "5" if bad == 0 else amount
        currency = "DOLLARS" if bad == 1 else currency
        at = "yesterday" if bad == 2 else at
        tail = "" if bad == 3 else tail
    value = (
        f'{{"record_id":{number},"tx_id":"{key_number:032x}","user_id":"user-{number % 977}","amount":{amount},'
        f'"currency":"{currency}","merchant":"Merchant {number % 89} & Søns","category":"groceries",'
        f'"timestamp":"{at}","source_system":"streaming_kafka","transaction_type":"real_time","processing_time_ms":12'
    )
    if fate == DECODE and number // 200 % 5 == 4:
        value = value.replace('"user_id"', '"user"')
    return f"{fate} {number} {key_number}".encode(), (value + tail).encode()


def payments(duplicate_every: int = 50) -> Iterator[tuple[bytes, bytes]]:
    """Records without end: 1 % bad, every `duplicate_every`-th (0: none) with the key of an earlier one."""
    number = 0
    while True:
        fate, key_number = fate_of(number), number
        if duplicate_every and number % duplicate_every == duplicate_every - 1:
            key_number -= DUPLICATE_DISTANCES[number // duplicate_every % 3]
        yield make_record(number, fate, max(0, key_number))
        number += 1


class Feed:
    """Produces payments into a topic, round robin over its partitions, all at once or in the background."""

    def __init__(self, bootstrap_servers: str, topic: str, records: Iterator[tuple[bytes, bytes]], partitions: int = 4):
        settings = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "linger.ms": 20,
            "compression.type": "lz4",
            "log_level": 2,
        }
        self._producer = Producer(settings)
        self.topic = topic
        self._records = records
        self._partitions = partitions
        self.sent = 0
        self._refused: list[str] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def send(self, count: int) -> None:
        """Produce this many; they are in the log after `finish`."""
        for _ in range(count):
            key, value = next(self._records)
            while True:
                try:
                    where = self.sent % self._partitions
                    self._producer.produce(self.topic, value, key, where, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.05)
            self.sent += 1
        self._producer.poll(0)

    def start(self, per_sec: int) -> None:
        """Go on in the background at this rate, until `finish`."""
        self._thread = threading.Thread(target=self._run, args=(per_sec,), name="feed", daemon=True)
        self._thread.start()

    def _run(self, per_sec: int) -> None:
        began, before = time.monotonic(), self.sent
        while not self._stop.wait(0.02):
            self.send(max(0, int((time.monotonic() - began) * per_sec) - (self.sent - before)))

    def spread(self, partitions: int) -> None:
        """From now on over so many partitions; returns when the producer knows of them."""
        while len(self._producer.list_topics(self.topic, 10).topics[self.topic].partitions) < partitions:
            self._producer.poll(0.05)
        self._partitions = partitions

    def stop(self) -> None:
        """End the background."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def finish(self, at_least: int = 0) -> int:
        """Stop, bring the log to `at_least` records, and wait until all are in it; the number of records."""
        self.stop()
        self.send(max(0, at_least - self.sent))
        assert self._producer.flush(120) == 0, f"{self.topic}: not everything was produced"
        assert not self._refused, f"{self.topic}: {self._refused[0]}"
        return self.sent

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._refused.append(str(error))
