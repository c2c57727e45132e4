"""The servers of a measurement and the topics in them. Knows nothing of what is measured.

Kafka and PostgreSQL run with their default settings, fsync included: figures made without it would flatter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import broker
from bench.hostile import Fields, Hostile, Messages, kinds_named
from bench.problem import Problem
from bench.sending import Plan, Sending
from bench.transactions import Transactions, spare_users
from ingestd.embedded.stack import start_stack

PARTITIONS = 4
BAD_SHARE = 0.01
SEED = 1
START = 1_767_225_600
"""Of the transactions in every topic: the same ones each time."""


class Servers(NamedTuple):
    """A broker and a database, and the processes whose CPU counts as theirs."""

    bootstrap_servers: str
    postgres_url: str
    kafka_pid: int
    postgres_pid: int

    @property
    def properties(self) -> broker.Properties:
        """For Kafka clients of the bench."""
        return broker.client_properties(self.bootstrap_servers, [])

    def connect(self) -> psycopg.Connection[Any]:
        """An autocommit connection for looking on, which takes no second core."""
        connection = psycopg.connect(self.postgres_url, autocommit=True)
        connection.execute("SET max_parallel_workers_per_gather = 0")
        return connection

    def libpq_environment(self) -> dict[str, str]:
        """What makes libpq log in without a password on a command line."""
        parts = conninfo_to_dict(self.postgres_url)
        return {"PGPASSWORD": str(parts.get("password") or "")}


@contextmanager
def running_servers() -> Iterator[Servers]:
    """The embedded servers, in a temporary directory, until the block ends."""
    with start_stack() as stack:
        yield Servers(stack.bootstrap_servers, stack.postgres_url, stack.pids["kafka"], stack.pids["postgres"])


class Load(NamedTuple):
    """A topic full of transactions: how many, and how many of them are bad."""

    topic: str
    messages: int
    bad: int


def load_transactions(servers: Servers, messages: int, bad_kind: str | None = None) -> Load:
    """The topic with this many transactions (always the same ones), filled when it is not there yet.

    Raises: Problem when the broker did not take all of them.
    """
    topic = f"transactions-{messages}" + (f"-bad-{bad_kind}" if bad_kind else "")
    good: Messages = Transactions(spare_users(SEED), SEED, START)
    made = good
    if bad_kind:
        made = Hostile(good, Fields("amount", "merchant"), BAD_SHARE, kinds_named(bad_kind), SEED)
    admin = broker.connect(servers.properties)
    if not broker.partition_count(admin, topic):
        broker.create_topic(admin, topic, PARTITIONS)
        sending = Sending(servers.properties, Plan(topic, messages, None, PARTITIONS), lambda done: None)
        sending.run(made)
        sent = sending.finish()
        if sent.failed or sent.sent != messages:
            raise Problem(f"topic {topic}: {sent.line()}")
    held = sum(end - start for start, end in broker.spans(servers.properties, topic))
    if held != messages:
        raise Problem(f"topic {topic}: holds {held:,} records, not {messages:,}")
    return Load(topic, messages, round(messages * BAD_SHARE) if bad_kind else 0)
