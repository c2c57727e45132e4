"""`python -m bench produce`: from options to messages in a topic."""

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NamedTuple

from bench import broker
from bench.checked import Checked, contract_of
from bench.crm import CrmEvents
from bench.hostile import Fields, Hostile, Messages, kinds_named
from bench.prescribers import Prescribers
from bench.problem import Problem
from bench.progress import shown
from bench.sending import Plan, Sending
from bench.users import read_user_ids
from ingestd.demo.sales import Sales

SEEDED_START = 1_767_225_600  # 2026-01-01T00:00:00Z

TOPICS = {
    "sales": "sales",
    "transactions": "transactions",
    "prescribers": "prescriber_events",
    "crm": "crm.events.raw",
}
"""Profiles, and where their records go."""

FIELDS = {"sales": Fields("amount_usd", "channel"), "transactions": Fields("amount", "merchant")}


class Made(NamedTuple):
    """The messages of a run, what holds back those that break the contract, and what spoils some on purpose."""

    messages: Messages
    checked: Checked
    hostile: Hostile | None


def parse_rate(text: str) -> float | None:
    """Messages a second, or None for "max".

    Raises: ArgumentTypeError for anything else.
    """
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise argparse.ArgumentTypeError(f'{text!r}: give messages a second above 0, or "max"')
    return rate


def parse_share(text: str) -> float:
    """A number from 0 to 1.

    Raises: ArgumentTypeError for anything else.
    """
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a share from 0 to 1")
    return share


def make_messages(args: argparse.Namespace) -> Made:
    """The messages that the options describe; with a seed always the same ones. All but the bad ones keep the contract.

    Raises: Problem for an unreadable users file or an unknown kind of bad record, ConfigError for a wrong --contract.
    """
    start = None if args.seed is None else SEEDED_START
    good = _good_messages(args, start)
    checked = Checked(good, contract_of(args.profile, args.contract))
    if not args.bad:
        return Made(checked, checked, None)
    if args.profile not in FIELDS:
        raise Problem(f"--bad: profile {args.profile} has no bad records; there are some for {', '.join(FIELDS)}")
    try:
        kinds = kinds_named(args.bad_kind)
    except ValueError as error:
        raise Problem(f"--bad-kind: {error}") from None
    hostile = Hostile(checked, FIELDS[args.profile], args.bad, kinds, args.seed)
    return Made(hostile, checked, hostile)


def _good_messages(args: argparse.Namespace, start: int | None) -> Messages:
    if args.profile == "transactions":
        # Faker takes a while to load, and the others have no need of it.
        from bench.transactions import Transactions, spare_users

        users = read_user_ids(args.users) if args.users else spare_users(args.seed)
        return Transactions(users, args.seed, start)
    makers: dict[str, Callable[[int | None, int | None], Messages]] = {
        "sales": Sales,
        "prescribers": Prescribers,
        "crm": CrmEvents,
    }
    return makers[args.profile](args.seed, start)


def prepare_topic(args: argparse.Namespace, properties: broker.Properties) -> int:
    """Create the topic when it is missing; the number of its partitions.

    Raises: Problem when the broker is away or the topic has another number of partitions than asked for.
    """
    admin = broker.connect(properties)
    found = broker.partition_count(admin, args.topic)
    if not found:
        wanted = args.partitions or broker.DEFAULT_PARTITIONS
        broker.create_topic(admin, args.topic, wanted, args.retention_ms)
        print(f"created topic {args.topic} with {wanted} partitions", file=sys.stderr)
        return int(wanted)
    if args.partitions and args.partitions != found:
        raise Problem(
            f"topic {args.topic}: has {found} partitions, not {args.partitions}; leave --partitions out, or add some "
            f"with: python -m bench topic --topic {args.topic} --create --partitions {args.partitions}"
        )
    return found


def produce(args: argparse.Namespace) -> int:
    """Run the command; exit code 0 only when every message kept the contract and the broker took it."""
    if args.profile is None:
        by_topic = {topic: profile for profile, topic in TOPICS.items()}
        args.profile = "sales" if args.sales_per_second is not None else by_topic.get(args.topic, "transactions")
    args.topic = args.topic or TOPICS[args.profile]
    per_sec = args.sales_per_second if args.sales_per_second is not None else args.rate
    properties = broker.client_properties(args.bootstrap_server, args.properties)
    made = make_messages(args)
    partitions = prepare_topic(args, properties)
    plan = Plan(args.topic, args.messages, per_sec, partitions, args.skew)
    stopped = False
    with shown(args.topic, args.messages) as update:
        sending = Sending(properties, plan, update)

        def handle_stop(signum: int, frame: FrameType | None) -> None:
            nonlocal stopped
            stopped = True
            sending.stop()
            # A second Ctrl-C does not wait for acknowledgments.
            signal.signal(signal.SIGINT, signal.default_int_handler)

        signal.signal(signal.SIGINT, handle_stop)
        signal.signal(signal.SIGTERM, handle_stop)
        sending.run(made.messages)
        sent = sending.finish()
    if made.hostile is not None:
        counts = made.hostile.counts
        print(f"bad {counts.total():,}: " + " ".join(f"{kind}={number}" for kind, number in counts.items()))
    if made.checked.refused:
        print(made.checked.line(), file=sys.stderr)
    print(("stopped; " if stopped else "") + sent.line(), flush=True)
    return 1 if sent.failed or made.checked.refused else 0
