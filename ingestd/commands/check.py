"""`ingestd check`: the file, then the servers, one line each. Composes; what is checked stands in `preflight`."""

import argparse
from collections.abc import Iterator

import orjson

from ingestd.commands.arguments import add_config, count_up_to
from ingestd.config.file import load
from ingestd.errors import ConfigError, ExitCode
from ingestd.preflight.examine import examine
from ingestd.preflight.findings import Finding, State

_MOST_SAMPLES = 10_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration, then broker, topics, database and tables",
        description=(
            "Check the configuration file, then connect and say in one line each what a start would meet, and what to "
            "do about it. Changes nothing. Exit code: 0 all is well, 2 the file is wrong, 3 a server cannot be reached "
            "or does not fit."
        ),
    )
    add_config(parser)
    parser.add_argument("--offline", action="store_true", help="check the file only; connect to nothing")
    parser.add_argument(
        "--sample",
        type=count_up_to(_MOST_SAMPLES),
        metavar="N",
        help="also read N records of each partition, write them into the table, and roll back: what would be refused",
    )
    parser.add_argument("--json", action="store_true", help="one JSON array instead of lines")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print the findings; the exit code says the worst of them."""
    found: list[Finding] = []
    for finding in _findings(args.config, args.offline, args.sample):
        found.append(finding)
        if not args.json:
            print(finding.line(), flush=True)
    if args.json:
        rows = [
            {"state": entry.state.value, "subject": entry.subject, "message": entry.message, "mend": entry.mend}
            for entry in found
        ]
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    failed = [entry for entry in found if entry.state is State.FAIL]
    if not failed:
        return ExitCode.OK
    return ExitCode.USAGE if any(entry.configuration for entry in failed) else ExitCode.STARTUP


def _findings(path: str, offline: bool, sample: int | None) -> Iterator[Finding]:
    try:
        config = load(path)
    except ConfigError as error:
        yield from (Finding(State.FAIL, "configuration", problem, configuration=True) for problem in error.problems)
        return
    pipelines = ", ".join(pipeline.name for pipeline in config.pipeline)
    yield Finding(State.OK, "configuration", f"{path}: pipelines {pipelines}")
    if offline:
        return
    failed = False
    for finding in examine(config):
        failed = failed or finding.state is State.FAIL
        yield finding
    if sample and not failed and "embedded" not in (config.kafka.bootstrap_servers, str.__str__(config.store.url)):
        from ingestd.sampling.check import try_samples

        yield from try_samples(config, sample)
