"""`python -m bench`: the commands and their options, and nothing else."""

import argparse
import sys
from pathlib import Path

from bench import broker
from bench.problem import Problem
from bench.produce import TOPICS, parse_rate, parse_share, produce
from ingestd.errors import ConfigError, StartupError


def make_users(args: argparse.Namespace) -> int:
    """Write a registration file."""
    from bench.users import write_users

    write_users(args.out, args.count, args.seed)
    print(f"{args.out}: {args.count:,} users")
    return 0


def set_up_topic(args: argparse.Namespace) -> int:
    """Create, grow or describe a topic."""
    properties = broker.client_properties(args.bootstrap_server, args.properties)
    admin = broker.connect(properties)
    found = broker.partition_count(admin, args.topic)
    if args.create and not found:
        broker.create_topic(admin, args.topic, args.partitions or broker.DEFAULT_PARTITIONS, args.retention_ms)
    elif args.create:
        if args.partitions and args.partitions != found:
            broker.grow_topic(admin, args.topic, args.partitions)
        if args.retention_ms is not None:
            broker.set_retention(admin, args.topic, args.retention_ms)
    view = broker.describe_topic(admin, properties, args.topic)
    print(
        f"topic {view.name}: {len(view.spans)} partitions, {view.replicas} replicas, retention.ms={view.retention_ms}"
    )
    for partition, (start, end) in enumerate(view.spans):
        print(f"  partition {partition}: offsets {start} to {end}, {end - start:,} records")
    return 0


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Options of every command that talks to Kafka."""
    parser.add_argument(
        "--bootstrap-server",
        default=broker.bootstrap_from_environment(),
        metavar="HOST:PORT",
        help="brokers; default: KAFKA_BOOTSTRAP_SERVERS, or localhost:9092",
    )
    parser.add_argument(
        "-X",
        dest="properties",
        action="append",
        default=[],
        metavar="PROPERTY=VALUE",
        help="a librdkafka property, for instance security.protocol=SSL; may be repeated",
    )
    parser.add_argument("--partitions", type=int, metavar="N", help="partitions when the topic is created (default: 3)")
    parser.add_argument("--retention-ms", type=int, metavar="MS", help="retention.ms when the topic is created")


def add_produce(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`produce` and its options."""
    parser = commands.add_parser("produce", help="send made-up records to a topic")
    add_connection(parser)
    parser.add_argument("--topic", help="default: the profile's own")
    parser.add_argument("--profile", choices=sorted(TOPICS), help="what the records are")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--sales-per-second", type=parse_rate, metavar="R", help="profile sales at this rate")
    rate.add_argument(
        "--rate", type=parse_rate, default=None, metavar="R", help='messages a second, or "max" (default)'
    )
    parser.add_argument("--messages", type=int, metavar="N", help="how many; default: until Ctrl-C")
    parser.add_argument("--users", type=Path, metavar="CSV", help="registration file that user ids are taken from")
    parser.add_argument(
        "--contract",
        type=Path,
        metavar="FILE",
        help="configuration with the contract that every record but the --bad ones must keep, or it is not sent; "
        "default: the example of the profile's name",
    )
    parser.add_argument(
        "--skew",
        type=parse_share,
        metavar="SHARE",
        help="share of the messages that goes to partition 0, the rest evenly over the others; default: by key",
    )
    parser.add_argument("--bad", type=parse_share, default=0.0, metavar="SHARE", help="share of hostile records")
    parser.add_argument(
        "--bad-kind",
        default="decode",
        metavar="KIND",
        help='"decode" (eight kinds in turn, none of which decodes), "check" (a negative amount: decodes, refused by '
        'CHECK (amount > 0)), "all", or one kind by name; how many of each were sent is printed',
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="the same records each time, ids and times included (a second run sends duplicates)",
    )
    parser.set_defaults(run=produce)


def compare(args: argparse.Namespace) -> int:
    """Run ingestd and a sketch in turn."""
    # Servers, Arrow and Faker: loaded only for this command.
    from bench.compare import compare as run_comparison

    return run_comparison(args)


def upsert(args: argparse.Namespace) -> int:
    """Measure upserts beside raw SQL."""
    from bench.upsert import measure

    return measure(args)


def sqlite(args: argparse.Namespace) -> int:
    """Measure one worker into an SQLite file."""
    from bench.sqlite import measure

    return measure(args)


def lake(args: argparse.Namespace) -> int:
    """Measure the lake's writer beside write_table."""
    from bench.lake import measure

    return measure(args)


def lake_run(args: argparse.Namespace) -> int:
    """Measure a pipeline with a lake only."""
    from bench.lake_run import measure

    return measure(args)


def cdc(args: argparse.Namespace) -> int:
    """Measure Debezium, and ingestd behind it."""
    from bench.cdc import measure

    return measure(args)


def make_parser() -> argparse.ArgumentParser:
    """All commands."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Load and measurements for ingestd.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_produce(commands)
    topic = commands.add_parser("topic", help="create a topic, add partitions, set retention, show offsets")
    add_connection(topic)
    topic.add_argument("--topic", required=True)
    action = topic.add_mutually_exclusive_group(required=True)
    action.add_argument("--create", action="store_true", help="create it, or grow it to --partitions; then describe it")
    action.add_argument("--describe", action="store_true", help="show partitions, offsets and retention")
    topic.set_defaults(run=set_up_topic)
    users = commands.add_parser("users", help="write a registration file")
    users.add_argument("--count", type=int, required=True, metavar="N")
    users.add_argument("--out", type=Path, required=True, metavar="CSV")
    users.add_argument("--seed", type=int)
    users.set_defaults(run=make_users)
    side = commands.add_parser("compare", help="run ingestd and a sketch in turn on the same servers, topic and table")
    side.add_argument(
        "--peers", type=Path, required=True, metavar="DIR", help="directory with the sketch, prototype.py"
    )
    side.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="transactions (default: 1,000,000)")
    side.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="rounds, every second in reverse order (default: 3)"
    )
    side.add_argument("--out", type=Path, metavar="DIR", help="where the result goes (default: bench/results)")
    side.set_defaults(run=compare)
    upserts = commands.add_parser("upsert", help="measure upserts beside raw SQL, and hot keys beside inserts")
    upserts.add_argument("--rows", type=int, default=500_000, metavar="N", help="records a run (default: 500,000)")
    upserts.add_argument(
        "--rounds", type=int, default=3, metavar="R", help="rounds, every second in reverse order (default: 3)"
    )
    upserts.set_defaults(run=upsert)
    file = commands.add_parser("sqlite", help="measure one worker into an SQLite file beside a bare executemany")
    file.add_argument("--rows", type=int, default=500_000, metavar="N", help="records a run (default: 500,000)")
    file.add_argument("--rounds", type=int, default=3, metavar="R", help="rounds, every second in reverse order (3)")
    file.set_defaults(run=sqlite)
    changes = commands.add_parser("cdc", help="measure Debezium's change events, and the copy that ingestd keeps")
    changes.add_argument("--rows", type=int, default=200_000, metavar="N", help="rows of the source (200,000)")
    changes.add_argument("--rounds", type=int, default=3, metavar="R", help="rounds, every second in reverse order (3)")
    changes.set_defaults(run=cdc)
    parquet = commands.add_parser(
        "lake", help="measure the lake's writer beside pyarrow's write_table of the same rows"
    )
    parquet.add_argument("--rows", type=int, default=2_000_000, metavar="N", help="transactions (default: 2,000,000)")
    parquet.add_argument("--rounds", type=int, default=5, metavar="R", help="rounds, every second in reverse order (5)")
    parquet.add_argument("--directory", metavar="DIR", help="where the files go (default: the system's temporary one)")
    parquet.set_defaults(run=lake)
    whole = commands.add_parser(
        "lake-run",
        help="measure the daemon from Kafka into a lake, beside raw consume and write_table of the same rows",
    )
    whole.add_argument("--rows", type=int, default=2_000_000, metavar="N", help="transactions (default: 2,000,000)")
    whole.add_argument("--rounds", type=int, default=5, metavar="R", help="rounds, every second in reverse order (5)")
    whole.set_defaults(run=lake_run)
    return parser


def main() -> int:
    """Exit code of the command; a problem is one line on standard error."""
    args = make_parser().parse_args()
    try:
        return int(args.run(args))
    except (Problem, StartupError, ConfigError) as problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
