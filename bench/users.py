"""Registration files: the users that a stream's transactions refer to. Knows nothing of Kafka."""

import csv
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from faker import Faker

from bench.problem import Problem
from ingestd.demo.sales import Uuids

COLUMNS = ("user_id", "name", "email", "country", "city", "registered_at")
POOL = 500
FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = 2000


def registrations(count: int, seed: int | None = None) -> Iterator[tuple[str, ...]]:
    """`count` users in the order of `COLUMNS`; ids and e-mail addresses are unique; a seed makes them repeatable."""
    name = random.SystemRandom().randrange(2**63) if seed is None else seed
    rng = random.Random(f"{name}-users")
    fake = Faker()
    fake.seed_instance(rng.randrange(2**32))
    firsts = [fake.first_name() for _ in range(POOL)]
    lasts = [fake.last_name() for _ in range(POOL)]
    places = [(fake.country_code(), fake.city()) for _ in range(POOL)]
    ids = Uuids(random.Random(f"{name}-ids"))
    for number in range(count):
        (user_id,) = ids.take(1)
        first, last = rng.choice(firsts), rng.choice(lasts)
        country, city = rng.choice(places)
        registered = FIRST_DAY + timedelta(seconds=rng.randrange(DAYS * 86_400))
        email = f"{first}.{last}.{number}@example.com".lower().replace(" ", "")
        yield user_id.decode(), f"{first} {last}", email, country, city, registered.strftime("%Y-%m-%dT%H:%M:%SZ")


def write_users(path: Path, count: int, seed: int | None = None) -> None:
    """Write a registration file with a header line.

    Raises: Problem when the file cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(registrations(count, seed))
    except OSError as error:
        raise Problem(f"{path}: cannot write the users: {error.strerror}") from None


def read_user_ids(path: Path) -> list[str]:
    """The user ids of a registration file.

    Raises: Problem when there is no such file, no user_id column, or no user in it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if "user_id" not in (reader.fieldnames or ()):
                raise Problem(f"{path}: no column user_id; make one with: python -m bench users --out {path}")
            ids = [row["user_id"] for row in reader]
    except OSError as error:
        raise Problem(
            f"{path}: {error.strerror}; make one with: python -m bench users --count 1000 --out {path}"
        ) from None
    if not ids:
        raise Problem(f"{path}: no users in it; make some with: python -m bench users --count 1000 --out {path}")
    return ids
