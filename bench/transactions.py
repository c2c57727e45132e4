"""Payments that look real, as JSON bytes, at several hundred thousand a second. Knows nothing of Kafka.

Faker makes about ten thousand values a second, so it only fills pools; every message combines pieces of them
that are encoded already.
"""

import random
from collections.abc import Sequence

import orjson
from faker import Faker

from ingestd.demo.sales import Stamps, Uuids

CATEGORIES = (
    "groceries",
    "restaurants",
    "travel",
    "fuel",
    "electronics",
    "clothing",
    "health",
    "entertainment",
    "utilities",
    "home",
    "sports",
    "books",
    "gifts",
    "education",
    "insurance",
)
CURRENCIES = ("USD", "USD", "USD", "USD", "EUR", "GBP")
MERCHANTS = 400
SHOPS = 4000
AMOUNTS = 50_000
SPARE_USERS = 10_000


def spare_users(seed: int | None) -> list[str]:
    """User ids for when no users file is given."""
    return [user.decode() for user in Uuids(random.Random(f"{seed}-users")).take(SPARE_USERS)]


class Transactions:
    """Transactions as (key, value): the key is the user, amounts have exactly two decimals and never were floats.

    The same seed and users make the same messages, however they are cut into `take` calls.
    """

    def __init__(self, users: Sequence[str], seed: int | None = None, start: int | None = None):
        name = random.SystemRandom().randrange(2**63) if seed is None else seed
        self._ids = Uuids(random.Random(f"{name}-ids"))
        self._users, self._shops, self._amounts, self._times = (
            random.Random(f"{name}-{part}") for part in ("users", "shops", "amounts", "times")
        )
        self._stamps = Stamps(start)
        self._user_pool = [(user.encode(), b'","user_id":%b,"amount":' % orjson.dumps(user)) for user in users]
        self._shop_pool = _shops(random.Random(f"{name}-pool"))
        self._amount_pool = [b"%d.%02d" % divmod(self._amounts.randrange(100, 500_000), 100) for _ in range(AMOUNTS)]
        self._time_pool = [
            b'","source_system":"streaming_kafka","transaction_type":"real_time","processing_time_ms":%d}' % ms
            for ms in range(3, 500)
        ]

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """The next `count` transactions."""
        join = b"".join
        return [
            (user, join((b'{"tx_id":"', tx_id, head, amount, shop, ts, tail)))
            for tx_id, (user, head), amount, shop, ts, tail in zip(
                self._ids.take(count),
                self._users.choices(self._user_pool, k=count),
                self._amounts.choices(self._amount_pool, k=count),
                self._shops.choices(self._shop_pool, k=count),
                self._stamps.take(count),
                self._times.choices(self._time_pool, k=count),
                strict=True,
            )
        ]


def _shops(rng: random.Random) -> list[bytes]:
    """Encoded currency, merchant and category, up to the opening quote of the time; a merchant keeps its category."""
    fake = Faker()
    fake.seed_instance(rng.randrange(2**32))
    merchants = [(fake.company(), rng.choice(CATEGORIES)) for _ in range(MERCHANTS)]
    pool = []
    for _ in range(SHOPS):
        merchant, category = rng.choice(merchants)
        pool.append(
            b',"currency":"%b","merchant":%b,"category":"%b","timestamp":"'
            % (rng.choice(CURRENCIES).encode(), orjson.dumps(merchant), category.encode())
        )
    return pool
