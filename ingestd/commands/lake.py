"""`ingestd lake`: small files of a lake become larger ones. Composes and prints."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingestd.commands.arguments import add_config, pipelines_named, require_running
from ingestd.commands.medallion import add_medallion_parsers
from ingestd.config.file import load
from ingestd.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from ingestd.config.options import Config, Pipeline
    from ingestd.lake.merging.compaction import Done
    from ingestd.lake.merging.ledger import Ledger
    from ingestd.lake.place import Place

Advance = Callable[[int], None]
"""So many rows more."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its verbs."""
    parser = subparsers.add_parser("lake", help="merge the files of a lake, make stage and current tables of it")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="compact|stage|current|runs")
    _add_compact(verbs)
    add_medallion_parsers(verbs)


def _add_compact(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compact = verbs.add_parser(
        "compact",
        help="merge small files into larger ones",
        description=(
            "Merges small files into larger ones, as `[pipeline.lake.compact]` says, while the daemon may run. Readers "
            "see the old files or the new ones. Safe to kill at any moment: the next run, or the keeper, ends what "
            "was begun. Exit code: 0 done, 3 somebody else merges now, 7 files were found that are not as they were "
            "committed."
        ),
    )
    add_config(compact)
    compact.add_argument("--pipeline", metavar="NAME", help="only the lake of this pipeline")
    compact.add_argument(
        "--directory",
        metavar="GLOB",
        default="*",
        help='only directories like this, as they are below the root: "category=x*"; "*" also stands for "/"',
    )
    compact.add_argument("--dry-run", action="store_true", help="say what would be merged, and change nothing")
    compact.set_defaults(main=main_compact)


def main_compact(args: argparse.Namespace) -> int:
    """Merge, one lake after the other. Raises: Busy, Halt, Retryable, StartupError."""
    config = load(args.config)
    pipelines = [one for one in pipelines_named(config, args.pipeline) if one.lake is not None]
    if not pipelines:
        raise ConfigError(["pipeline: none with [pipeline.lake]; `ingestd lake compact` has nothing to do"])
    require_running("lake compact", config)
    codes = [_compact(config, pipeline, args) for pipeline in pipelines]
    return max(codes)


def _compact(config: "Config", pipeline: "Pipeline", args: argparse.Namespace) -> int:
    from ingestd.lake.merging.ledger import open_ledger, prepare
    from ingestd.lake.open import open_place

    assert pipeline.lake is not None
    place = open_place(pipeline.lake)
    ledger = open_ledger(config.store, pipeline)
    into = pipeline.lake.compact.into is not None
    try:
        prepare(ledger)
        with ledger.held(f"lake of pipeline {pipeline.name}"):
            work = _into_one if into else _merge
            return work(config, pipeline, place, ledger, args)
    finally:
        ledger.store.close()


def _merge(config: "Config", pipeline: "Pipeline", place: "Place", ledger: "Ledger", args: argparse.Namespace) -> int:
    from ingestd.lake.merging.compaction import Compactor, Done, batches

    began = time.monotonic()
    total = Done()
    with _progress(f"lake of {pipeline.name}") as (expect, advance):
        compactor = Compactor(pipeline, place, ledger, advance)
        if not args.dry_run:
            compactor.recover()
        groups = compactor.plan(args.directory)
        if args.dry_run:
            for group in groups:
                print(f"{group.directory or '.'}: {len(group.files)} files, {_size(group.nbytes)}, become one")
            if not groups:
                print(f"lake of pipeline {pipeline.name}: nothing to merge")
            return ExitCode.OK
        expect(sum(file.rows for group in groups for file in group.files))
        for batch in batches(groups):
            total = _sum(total, compactor.run(batch))
    print(_said(pipeline.name, total, time.monotonic() - began))
    for fault in total.unreadable:
        print(f"NOT MERGED: {fault}")
    return ExitCode.UNACCOUNTED if total.unreadable else ExitCode.OK


def _into_one(
    config: "Config", pipeline: "Pipeline", place: "Place", ledger: "Ledger", args: argparse.Namespace
) -> int:
    from fnmatch import fnmatchcase

    from ingestd.lake.merging.finished import finished_values
    from ingestd.lake.merging.into import COMPACTED, IntoOne

    assert pipeline.lake is not None
    with _progress(f"lake of {pipeline.name}") as (expect, advance):
        into = IntoOne(pipeline, place, ledger, advance)
        units = into.plan(finished_values(config.store, pipeline, ledger.store))
        units = [unit for unit in units if fnmatchcase(unit.directory, args.directory)]
        expect(0 if args.dry_run else sum(file.rows for unit in units for file in unit.files))
        for unit in units:
            to = f"{pipeline.lake.compact.into}/{unit.directory}/{COMPACTED}"
            before = f"{len(unit.files)} files, {_size(unit.nbytes)}"
            if args.dry_run:
                print(f"{unit.directory}: {before}, become {to}")
                continue
            began = time.monotonic()
            note = into.make(unit)
            secs = time.monotonic() - began
            print(f"{unit.directory}: {before} -> {to}, {_size(note.nbytes)}, {note.rows} rows, {secs:.1f} s")
    if not units:
        print(f"lake of pipeline {pipeline.name}: nothing to merge; values that may get more files have to wait")
    return ExitCode.OK


@contextmanager
def _progress(what: str) -> Iterator[tuple[Advance, Advance]]:
    """(how many rows there will be, so many more): a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield (lambda _rows: None), (lambda _rows: None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"{what}: rows", total=None)
        yield (lambda rows: bar.update(task, total=rows)), (lambda rows: bar.advance(task, rows))


def _sum(first: "Done", second: "Done") -> "Done":
    from ingestd.lake.merging.compaction import Done

    return Done(*(getattr(first, name) + getattr(second, name) for name in Done.__struct_fields__))


def _said(pipeline: str, total: "Done", secs: float) -> str:
    if not total.files_before:
        return f"lake of pipeline {pipeline}: nothing to merge"
    files = f"{total.files_before} files became {total.files_after}"
    nbytes = f"{_size(total.bytes_before)} became {_size(total.bytes_after)}"
    return f"lake of pipeline {pipeline}: {files}, {nbytes}, {total.rows} rows, {secs:.1f} s"


def _size(nbytes: int) -> str:
    amount = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.2f} GiB"
