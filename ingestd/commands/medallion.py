"""`ingestd lake stage`, `current` and `runs`: bronze into typed tables, by hand. Composes; knows no database."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ingestd.commands.arguments import add_config, add_pipeline, require_running
from ingestd.config.file import load
from ingestd.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from ingestd.medallion.chain import Chain, Standing
    from ingestd.stores.runs import RunRow


def add_medallion_parsers(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the actions of `ingestd lake` that make stage and current tables."""
    stage = actions.add_parser(
        "stage",
        help="make typed stage tables of compacted change events",
        description=(
            "Every run that is compacted and not yet staged becomes a partition of each stage table. Done again, it "
            "does nothing; killed, the next one goes on."
        ),
    )
    stage.add_argument("--run", metavar="ID", help="this run only")
    current = actions.add_parser(
        "current",
        help="merge new stage partitions into the tables of the latest row of each key",
        description=(
            "Reads the stage partitions that are not merged yet, and the files of the current tables that hold one of "
            "their keys. Runs are merged in their order: one that has not ended, or is not staged, holds the later "
            "ones back."
        ),
    )
    runs = actions.add_parser(
        "runs",
        help="show the runs, and how far each has come",
        description="Every execution of `ingestd run`: its state, its events, whether it is compacted and staged.",
    )
    runs.add_argument(
        "--end", metavar="ID", help="mark this run crashed: its host is gone for good, and the others wait for it"
    )
    for parser, body in ((stage, stage_main), (current, current_main), (runs, runs_main)):
        add_config(parser)
        add_pipeline(parser)
        parser.set_defaults(main=body)


def stage_main(args: argparse.Namespace) -> int:
    """Stage what is compacted. Raises: StartupError, Halt, Retryable."""
    with _chain(args) as chain:
        if args.run is not None and args.run not in (known := chain.standing()).compacted:
            raise ConfigError([f"--run: {args.run} {_why_not(known, args.run)}"])
        units = 0
        for unit in chain.stage(args.run):
            units += 1
            print(
                f"{unit.table}: run {unit.run_id}: {unit.events:,} events = {unit.rows:,} rows + {unit.dead:,} dead"
                f" + {unit.ignored:,} ignored; {_size(unit.nbytes)} in {unit.files} files",
                flush=True,
            )
        standing = chain.standing()
        if not units:
            print("nothing to stage: every compacted run is staged")
        for run_id in sorted(standing.filled - standing.compacted.keys() - standing.staged.keys()):
            print(f"run {run_id}: not compacted yet", file=sys.stderr)
    return ExitCode.OK


def current_main(args: argparse.Namespace) -> int:
    """Merge what is staged; HALTED when a table could not be. Raises: StartupError, Halt, Retryable."""
    from ingestd.medallion.current import Refused

    code = ExitCode.OK
    with _chain(args) as chain:
        tables = 0
        for found in chain.current():
            tables += 1
            if isinstance(found, Refused):
                print(f"{found.table}: not merged: {found.reason}", file=sys.stderr)
                code = ExitCode.HALTED
                continue
            print(
                f"{found.table}: {found.runs} runs, {found.events:,} events merged into {found.rows:,} rows in"
                f" {found.secs:.1f} s; read {_size(found.stage_bytes)} of stage and {_size(found.current_bytes)} of"
                f" current, {found.touched} of {found.buckets} buckets",
                flush=True,
            )
            if found.missing:
                print(f"{found.table}: {found.missing:,} values never came in an event and are null", file=sys.stderr)
        if not tables:
            print("nothing to merge: current has every staged run that may be merged")
        if (waits := chain.order().waits) is not None:
            print(f"waiting: {waits}", file=sys.stderr)
    return code


def runs_main(args: argparse.Namespace) -> int:
    """Show the runs. Raises: StartupError, ConfigError for a run that is not running."""
    from ingestd.stores.runs import CRASHED

    with _chain(args) as chain:
        if args.end is not None and not chain.end_run(args.end, CRASHED):
            raise ConfigError([f"--end: no run {args.end} is running"])
        standing = chain.standing()
        for run in standing.runs:
            print(_shown(run, standing))
    return ExitCode.OK


@contextmanager
def _chain(args: argparse.Namespace) -> "Iterator[Chain]":
    from ingestd.medallion.chain import Chain

    config = load(args.config)
    require_running("lake", config)
    named = [one for one in config.pipeline if args.pipeline in (None, one.name) and one.medallion is not None]
    if len(named) != 1:
        found = ", ".join(one.name for one in config.pipeline if one.medallion is not None)
        raise ConfigError([f"--pipeline: name one with [pipeline.medallion]: {found or 'there is none'}"])
    with closing(Chain(config.store, named[0])) as chain:
        yield chain


def _shown(run: "RunRow", standing: "Standing") -> str:
    events = sum(counts.get("records", 0) for counts in run.counts.values())
    staged = standing.staged.get(run.run_id)
    stages = [
        ("bronze", run.run_id in standing.filled),
        ("compacted", run.run_id in standing.compacted),
        ("staged", staged is not None),
    ]
    so_far = " ".join(name for name, done in stages if done) or "no events"
    end = f"{run.ended_at:%H:%M:%S}Z" if run.ended_at else "..."
    return f"{run.run_id} {run.started_at:%Y-%m-%d %H:%M:%S}Z-{end} {run.host} {run.status} {events:,} events: {so_far}"


def _why_not(standing: "Standing", run_id: str) -> str:
    if run_id not in {run.run_id for run in standing.runs}:
        return "is no run of this store; `ingestd lake runs` shows them"
    return "is not compacted; `ingestd lake compact` does that once it has ended"


def _size(nbytes: int) -> str:
    size = float(nbytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
