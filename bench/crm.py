"""Business events of a CRM; some are sent twice. Knows nothing of Kafka."""

import random
from collections import deque

from bench.hostile import Message
from ingestd.demo.sales import Stamps, Uuids

EVENT_TYPES = (b"account_created", b"account_updated", b"opportunity_won", b"contact_added")
INDUSTRIES = (b"healthcare", b"finance", b"retail", b"manufacturing", b"software")
REGIONS = (b"emea", b"amer", b"apac")
ACCOUNTS = 20_000
REPEATS = 0.02
REMEMBERED = 10_000


class CrmEvents:
    """Events as (key, value); the key is the account. One in fifty is an earlier event once more."""

    def __init__(self, seed: int | None = None, start: int | None = None):
        name = random.SystemRandom().randrange(2**63) if seed is None else seed
        self._ids = Uuids(random.Random(f"{name}-ids"))
        self._rng = random.Random(f"{name}-events")
        self._stamps = Stamps(start)
        self._sent: deque[Message] = deque(maxlen=REMEMBERED)

    def take(self, count: int) -> list[Message]:
        """The next `count` events."""
        rng = self._rng
        events: list[Message] = []
        for event_id, stamp in zip(self._ids.take(count), self._stamps.take(count), strict=True):
            if self._sent and rng.random() < REPEATS:
                events.append(rng.choice(self._sent))
                continue
            account = b"acc-%05d" % rng.randrange(ACCOUNTS)
            value = (
                b'{"event_id":"%b","event_type":"%b","source":"salesforce","timestamp":"%b",'
                b'"payload":{"account_id":"%b","industry":"%b","region":"%b"}}'
                % (event_id, rng.choice(EVENT_TYPES), stamp, account, rng.choice(INDUSTRIES), rng.choice(REGIONS))
            )
            events.append((account, value))
            self._sent.append(events[-1])
        return events
