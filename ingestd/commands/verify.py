"""`ingestd verify`: whether every offset is accounted for. Composes and prints; the judgement is in `accounting`."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import orjson

from ingestd.commands.arguments import add_config, pipelines_named, require_running
from ingestd.commands.topics import add_topic, all_topics, by_topic
from ingestd.config.file import load
from ingestd.errors import ExitCode

if TYPE_CHECKING:
    from ingestd.accounting.account import Partition
    from ingestd.accounting.lake import LakeReport
    from ingestd.accounting.verify import Report
    from ingestd.config.options import Config, Pipeline

_COLUMNS = (
    "records",
    "inserted",
    "updated",
    "stale",
    "folded",
    "duplicates",
    "deleted",
    "passed",
    "dead",
    "redriven",
    "dropped",
)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "verify",
        help="account for every offset: row, update, duplicate, dead letter ...",
        description=(
            "Account for every offset that was read, in one snapshot of the store, while the daemon may run. Says "
            "whether it proved that by counts, or per record (a table in mode append or insert with columns from "
            'source = "partition" and "offset"). Of a lake, compares every file with the manifest, too. Exit code: 0 '
            "everything is accounted for, 7 it is not."
        ),
    )
    add_config(parser)
    parser.add_argument("--pipeline", metavar="NAME", help="only this pipeline")
    add_topic(parser)
    parser.add_argument(
        "--partition", type=int, action="append", default=[], metavar="N", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--read-log", action="store_true", help="also read the topic, to tell offsets without a record from losses"
    )
    parser.add_argument(
        "--deep", action="store_true", help="also read every row of a lake, with the checksums of its pages"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print (default: text)")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print one account for each topic of a pipeline. Raises: StartupError when store or broker cannot be read."""
    config = load(args.config)
    pipelines = pipelines_named(config, args.pipeline)
    require_running("verify", config, broker=args.read_log)
    chosen = by_topic(config, pipelines, args.topic)
    config = all_topics(config)
    reports = [_verify(config, pipeline, args) for pipeline in chosen]
    lakes = list(_lakes(config, chosen, args))
    if args.format == "json":
        found = [*map(_as_json, reports), *map(_lake_as_json, lakes)]
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        print("\n\n".join("\n".join(lines) for lines in (*map(_lines, reports), *map(_lake_lines, lakes))))
    wrong = any(report.problems for report in reports) or any(report.problems for report in lakes)
    return ExitCode.UNACCOUNTED if wrong else ExitCode.OK


def _lakes(config: "Config", chosen: "list[Pipeline]", args: argparse.Namespace) -> "Iterator[LakeReport]":
    """Of every pipeline with a lake, unless only some partitions are asked for."""
    for name in dict.fromkeys(one.name for one in chosen if one.lake is not None and not args.partition):
        from ingestd.accounting.lake import verify_lake

        yield verify_lake(config, [one for one in chosen if one.name == name], args.deep)


def _verify(config: "Config", pipeline: "Pipeline", args: argparse.Namespace) -> "Report":
    from ingestd.accounting.verify import verify

    with ExitStack() as opened:
        read_log = None
        if args.read_log:
            from ingestd.accounting.log import log_reader
            from ingestd.source.kafka import KafkaSource

            source = KafkaSource(config.kafka, pipeline, config.workers.prefetch)
            opened.callback(source.close)
            read_log = log_reader(source, pipeline.topic)
        return verify(config, pipeline, args.partition, read_log)


def _lines(report: "Report") -> list[str]:
    """The report as people read it: a table of what is not zero, problems, notes, the verdict."""
    rows = "" if report.table_rows is None else f", {report.table_rows} rows"
    sums = [account.fates for account in report.partitions]
    shown = [name for name in _COLUMNS if name == "records" or any(getattr(one, name) for one in sums)]
    lines = [
        f"pipeline {report.pipeline}: topic {report.topic}, table {report.table}{rows} (mode {report.mode})",
        "  ".join([f"{'partition':>9}", f"{'offsets':>24}", *(f"{name:>10}" for name in shown)]),
    ]
    for account in report.partitions:
        counts = [f"{getattr(account.fates, name):>10}" for name in shown]
        lines.append("  ".join([f"{account.partition:>9}", f"{_offsets(account):>24}", *counts]))
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"NOT ACCOUNTED FOR: {problem}" for problem in report.problems]
    verdict = "NOT everything is accounted for" if report.problems else "everything is accounted for"
    return [*lines, f"{verdict} ({report.proof})"]


def _lake_lines(report: "LakeReport") -> list[str]:
    lines = [f"lake of pipeline {report.pipeline}: {report.url}, {report.files} files, {report.rows} rows"]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"NOT ACCOUNTED FOR: {problem}" for problem in report.problems]
    verdict = "NOT everything is accounted for" if report.problems else "everything is accounted for"
    return [*lines, f"{verdict} ({'every row was read' if report.deep else 'by counts, sizes and footers'})"]


def _lake_as_json(report: "LakeReport") -> dict[str, object]:
    return {
        "pipeline": report.pipeline,
        "lake": report.url,
        "accounted": not report.problems,
        "files": report.files,
        "rows": report.rows,
        "bytes": report.nbytes,
        "expired_rows": report.expired_rows,
        "every_row_read": report.deep,
        "problems": report.problems,
        "notes": report.notes,
    }


def _offsets(account: "Partition") -> str:
    covered = account.covered
    if not covered:
        return "none"
    more = f" ({len(covered)} pieces)" if len(covered) > 1 else ""
    return f"{covered[0][0]}..{covered[-1][1] - 1}{more}"


def _as_json(report: "Report") -> dict[str, object]:
    return {
        "pipeline": report.pipeline,
        "topic": report.topic,
        "table": report.table,
        "mode": report.mode,
        "accounted": not report.problems,
        "proof": report.proof,
        "table_rows": report.table_rows,
        "problems": report.problems,
        "notes": report.notes,
        "partitions": [
            {
                "partition": account.partition,
                "covered": [{"start": start, "end": end} for start, end in account.covered],
                "assumed_holes": account.assumed_holes,
                "proved_holes": account.proved_holes,
                "dead_letters": account.dead_letters,
                **{name: getattr(account.fates, name) for name in account.fates.__struct_fields__},
            }
            for account in report.partitions
        ],
    }
