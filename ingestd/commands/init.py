"""`ingestd init`: a configuration from a sample of a topic. Composes; what is guessed stands in `sampling`."""

import argparse
import re
import sys
from pathlib import Path

from ingestd.commands.arguments import count_up_to
from ingestd.errors import ConfigError, ExitCode, StartupError

_MOST_SAMPLES = 100_000
_NEWEST = 2**62


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "init",
        help="write a configuration from a sample of a topic",
        description=(
            "Read the newest records of each partition of a topic with JSON values and write a configuration for them: "
            "fields, types, what is required, a candidate for the key. It is a draft: types are what the sample showed."
        ),
    )
    parser.add_argument("--topic", required=True, help="topic to read")
    parser.add_argument("--bootstrap-servers", required=True, metavar="HOST:PORT", help="brokers")
    parser.add_argument(
        "--sample",
        type=count_up_to(_MOST_SAMPLES),
        default=1000,
        metavar="N",
        help="records of each partition at most (default: 1000)",
    )
    parser.add_argument("--name", help="name of the pipeline (default: the topic)")
    parser.add_argument(
        "--store",
        metavar="URL",
        default="${INGESTD_STORE:-embedded}",
        help="store.url to write (default: %(default)s); write a password as ${VARIABLE}",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write there, if it does not exist (default: stdout)"
    )
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Write the draft. Raises: StartupError when the broker or the topic does not answer, or has no records."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", args.topic):
        raise ConfigError([f"--topic: {args.topic!a} is no name of a topic"])
    name = args.name or args.topic[:64]
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ConfigError(["--name: 1 to 64 letters, digits and _ . -"])
    if args.output and args.output.exists():
        raise ConfigError([f"--output: {args.output} exists and is not overwritten; choose another file"])
    text = _draft(args, name)
    if args.output is None:
        sys.stdout.write(text)
        return ExitCode.OK
    try:
        with args.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError([f"--output: {args.output}: {error.strerror}"]) from error
    print(f"wrote {args.output}; next: ingestd check --config {args.output} --sample 1000", file=sys.stderr)
    return ExitCode.OK


def _draft(args: argparse.Namespace, name: str) -> str:
    from ingestd.config import options as cfg
    from ingestd.errors import Retryable
    from ingestd.sampling.draft import as_toml, draft_of
    from ingestd.sampling.read import read_samples
    from ingestd.source.kafka import KafkaSource

    kafka = cfg.Kafka(bootstrap_servers=args.bootstrap_servers, group_id="ingestd-init")
    pipeline = cfg.Pipeline(name=name, topic=args.topic, column=(), table=cfg.Table(name="t"))
    source = KafkaSource(kafka, pipeline, 4 << 20)
    try:
        partitions = source.topic_state()[1]
        samples = read_samples(source, args.topic, dict.fromkeys(partitions, _NEWEST), args.sample)
    except Retryable as error:
        raise StartupError(str(error)) from error
    finally:
        source.close()
    if not any(sample.records for sample in samples):
        raise StartupError(f"topic {args.topic} has no records yet; produce some, or write the configuration by hand")
    return as_toml(draft_of(name, args.topic, args.bootstrap_servers, args.store, samples))
