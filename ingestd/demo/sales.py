"""The sales firehose: made-up sales as JSON, cheap enough for any rate. Knows nothing of Kafka or of the daemon."""

import random
import time
from datetime import UTC, datetime

STORES = 120
VARIANT = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}
CHANNELS = (b"store", b"web", b"app", b"phone")


class Stamps:
    """Times for records as ISO-8601 bytes with microseconds and Z, never going back.

    Without `start` they follow the wall clock; with it (seconds since 1970) they advance by 1 ms a record,
    so that a seeded run makes the same records each time.
    """

    def __init__(self, start: int | None = None):
        self._fixed_us = None if start is None else start * 1_000_000
        self._last_us = 0

    def take(self, count: int) -> list[bytes]:
        """The next `count` times."""
        if self._fixed_us is None:
            first, step = max(time.time_ns() // 1000, self._last_us + 1), 1
        else:
            first, step = self._fixed_us, 1000
            self._fixed_us += count * step
        end = first + count * step
        self._last_us = end - step
        texts: list[bytes] = []
        while first < end:
            second = first // 1_000_000
            prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode()
            border = min(end, (second + 1) * 1_000_000)
            texts += [prefix + b"%06dZ" % (us % 1_000_000) for us in range(first, border, step)]
            first += len(range(first, border, step)) * step
        return texts


class Uuids:
    """Random UUIDs (version 4) as text, the same for the same `rng`."""

    def __init__(self, rng: random.Random):
        self._rng = rng

    def take(self, count: int) -> list[bytes]:
        """The next `count` UUIDs; how they are cut into calls changes nothing."""
        x = self._rng.randbytes(16 * count).hex()
        return [
            f"{x[i : i + 8]}-{x[i + 8 : i + 12]}-4{x[i + 13 : i + 16]}-{VARIANT[x[i + 16]]}{x[i + 17 : i + 20]}-"
            f"{x[i + 20 : i + 32]}".encode()
            for i in range(0, 32 * count, 32)
        ]


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
