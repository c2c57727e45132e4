"""Change events of prescribers: upserts and deletes, some late, in both forms of time. Knows nothing of Kafka."""

import random
import time
from datetime import UTC, datetime

from bench.hostile import Message

NPIS = 5_000
SOURCES = ("cms_partd", "python_demo")
DELETES = 0.1
LATE = 0.2
LATE_SECS = 3_600


class Prescribers:
    """Events as (key, value); the key is the npi, so that one prescriber's events stay in one partition.

    One in five is up to an hour older than its place in the log: an older event must not overwrite a newer one.
    """

    def __init__(self, seed: int | None = None, start: int | None = None):
        self._rng = random.Random(seed)
        self._start = start
        self._made = 0

    def take(self, count: int) -> list[Message]:
        """The next `count` events."""
        return [self._event() for _ in range(count)]

    def _event(self) -> Message:
        rng = self._rng
        now = time.time() if self._start is None else self._start + self._made / 100
        self._made += 1
        ts = now - rng.random() * LATE_SECS * (rng.random() < LATE)
        npi = b"%010d" % (1_000_000_000 + rng.randrange(NPIS))
        event_type = b"delete" if rng.random() < DELETES else b"upsert"
        value = b'{"event_type":"%b","npi":"%b","source":"%b","ts":%b}' % (
            event_type,
            npi,
            rng.choice(SOURCES).encode(),
            _written(ts, rng.randrange(3)),
        )
        return npi, value


def _written(ts: float, form: int) -> bytes:
    """Seconds since 1970, whole or with a fraction, or ISO-8601."""
    if form == 0:
        return b"%d" % ts
    if form == 1:
        return b"%.3f" % ts
    return datetime.fromtimestamp(ts, UTC).strftime('"%Y-%m-%dT%H:%M:%S.%fZ"').encode()
