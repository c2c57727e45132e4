"""The sales firehose: made-up sales as JSON, cheap enough for any rate. Knows nothing of Kafka or of the daemon."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

STORES = 120
CHANNELS = (b"store", b"web", b"app", b"phone")


class Stamps:
    """Times for records as ISO-8601 bytes with microseconds and Z, never going back.

    Without `start` they follow the wall clock; with it (seconds since 1970) they advance by 1 ms a record,
    so that a seeded run makes the same records each time.
    """

    def __init__(self, start: int | None = None, clock_ns: Callable[[], int] = time.time_ns):
        self._fixed_us = None if start is None else start * 1_000_000
        self._clock_ns = clock_ns
        self._last_us = 0
        self._second = -1
        self._prefix = b""

    def take(self, count: int) -> list[bytes]:
        """The next `count` times."""
        if self._fixed_us is None:
            first, step = max(self._clock_ns() // 1000, self._last_us + 1), 1
        else:
            first, step = self._fixed_us, 1000
            self._fixed_us += count * step
        self._last_us = first + (count - 1) * step
        return [self._text(first + i * step) for i in range(count)]

    def _text(self, us: int) -> bytes:
        second, fraction = divmod(us, 1_000_000)
        if second != self._second:
            self._second = second
            self._prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode()
        return self._prefix + b"%06dZ" % fraction


class Uuids:
    """Random UUIDs (version 4) as text, the same for the same `rng`."""

    def __init__(self, rng: random.Random):
        self._rng = rng

    def take(self, count: int) -> list[bytes]:
        """The next `count` UUIDs; how they are cut into calls changes nothing."""
        text = self._rng.randbytes(16 * count).hex()
        ids = []
        for at in range(0, 32 * count, 32):
            x = text[at : at + 32]
            variant = "89ab"[int(x[16], 16) & 3]
            ids.append(f"{x[:8]}-{x[8:12]}-4{x[13:16]}-{variant}{x[17:20]}-{x[20:]}".encode())
        return ids


class Sales:
    """Sales as (key, value): id (uuid), ts (ISO-8601 Z), store_id, amount_usd (exactly two decimals), channel.

    The key is the store, so that one store's sales stay in order. Amounts are whole cents: no float is involved.
    """

    def __init__(self, seed: int | None = None, start: int | None = None):
        name = random.SystemRandom().randrange(2**63) if seed is None else seed
        self._ids = Uuids(random.Random(f"{name}-ids"))
        self._rng = random.Random(f"{name}-sales")
        self._stamps = Stamps(start)

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next `count` sales."""
        rng = self._rng.random
        sales = []
        for sale_id, ts in zip(self._ids.take(count), self._stamps.take(count), strict=True):
            store = b"store-%03d" % int(rng() * STORES)
            cents = 99 + int(rng() * rng() * 50_000)
            value = b'{"id":"%b","ts":"%b","store_id":"%b","amount_usd":%d.%02d,"channel":"%b"}' % (
                sale_id,
                ts,
                store,
                cents // 100,
                cents % 100,
                CHANNELS[int(rng() * 4)],
            )
            sales.append((store, value))
        return sales
