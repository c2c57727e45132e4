"""`ingestd query`: a pipeline's table, or any other question, answered read-only. Composes; knows no database."""

import argparse
import sys
from itertools import islice
from typing import TYPE_CHECKING

from ingestd.commands.arguments import (
    add_config,
    add_pipeline,
    count_up_to,
    one_pipeline,
    pipelines_named,
    require_running,
)
from ingestd.commands.topics import add_topic, one_topic
from ingestd.config.file import load
from ingestd.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ingestd.config.options import Config, Pipeline, Query
    from ingestd.query.lake import Question
    from ingestd.query.read import Answer

TABLE_ROWS = 1_000
"""Shown at most as a table when no limit is given: widths need all rows in memory."""
_MOST_ROWS = 1_000_000_000
_MOST_MIB = 1 << 20
_ONLY = "the only one that has a lake"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "query",
        help="show a pipeline's table or lake, another table, or the answer to an SQL query; changes nothing",
        description=(
            "Show the pipeline's table, with the columns, headings and formats of [pipeline.query] when there are any. "
            "Reads in a transaction that cannot write. "
            'With --lake: the rows of all files that the manifest names at one moment, as the view "lake" of a DuckDB '
            "that can read nothing else."
        ),
    )
    add_config(parser)
    add_pipeline(parser)
    add_topic(parser)
    parser.add_argument(
        "--lake",
        nargs="?",
        const=_ONLY,
        metavar="NAME",
        help="ask the lake of this pipeline (the name may be left out when one pipeline has a lake)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--table", metavar="NAME", help="another table of the store")
    what.add_argument("--sql", metavar="QUERY", help="one SQL query instead; with --lake, DuckDB's SQL")
    parser.add_argument(
        "--limit",
        type=count_up_to(_MOST_ROWS),
        metavar="N",
        help=f"rows at most (default: {TABLE_ROWS} as a table, else all)",
    )
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json", "arrow"),
        default="table",
        help="how to print (default: table); arrow, for a lake only: an IPC stream, in the types of the lake",
    )
    parser.add_argument(
        "--memory",
        type=count_up_to(_MOST_MIB),
        metavar="MIB",
        help="for a lake: memory the query may take before it goes on with temporary files (default: 1024)",
    )
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print the answer. Raises: StartupError when the store or the lake cannot be asked, or refuses the query."""
    config = load(args.config)
    if args.lake is None and (args.format == "arrow" or args.memory):
        raise ConfigError(["query: --format arrow and --memory are for --lake"])
    limit = args.limit or (TABLE_ROWS if args.format == "table" else None)
    if args.lake is None:
        return _ask_store(args, config, limit)
    question = _question(args, config, limit)
    if args.format == "arrow":
        from ingestd.query.lake import write_arrow

        write_arrow(question, sys.stdout.buffer)
        return ExitCode.OK
    from ingestd.query.lake import ask_lake

    _show(args, ask_lake(question), limit)
    return ExitCode.OK


def _ask_store(args: argparse.Namespace, config: "Config", limit: int | None) -> int:
    from ingestd.query.read import ask_store, select_table

    apart = args.sql or args.table
    pipeline = pipelines_named(config, args.pipeline)[0] if apart else one_pipeline(config, args.pipeline)
    if not apart and not pipeline.has_table():
        how = f"ask its lake: `ingestd query --lake {pipeline.name}`"
        raise ConfigError([f"pipeline {pipeline.name} has no table; {how}, or name another table with --table"])
    require_running("query", config)
    if not apart:
        pipeline = one_topic(config, pipeline, args.topic)
    # One row more than is shown tells whether there are more.
    statement = args.sql or select_table(pipeline, args.table, None if limit is None else limit + 1)
    _show(args, ask_store(config.store, statement), limit, None if apart else pipeline.query)
    return ExitCode.OK


def _question(args: argparse.Namespace, config: "Config", limit: int | None) -> "Question":
    from ingestd.query.lake import MEMORY_MIB, Question

    if args.table:
        raise ConfigError(["query: --table is a table of the store; with --lake, name a pipeline"])
    if args.pipeline and args.lake not in (_ONLY, args.pipeline):
        raise ConfigError(["query: --lake and --pipeline name two pipelines; one is enough"])
    pipeline = _with_lake(config, args.pipeline or (None if args.lake is _ONLY else args.lake))
    require_running("query", config)
    # One row more than is shown tells whether there are more.
    most = limit + 1 if limit is not None and args.format != "arrow" else limit
    return Question(config.store, pipeline, args.sql, most, args.memory or MEMORY_MIB)


def _with_lake(config: "Config", name: str | None) -> "Pipeline":
    lakes = [pipeline for pipeline in config.pipeline if pipeline.lake is not None]
    chosen = [pipeline for pipeline in lakes if name in (None, pipeline.name)]
    if len(chosen) == 1:
        return chosen[0]
    if not lakes:
        raise ConfigError(["--lake: no pipeline of this file has a lake; write [pipeline.lake]"])
    raise ConfigError([f"--lake: choose one of {', '.join(pipeline.name for pipeline in lakes)}"])


def _show(
    args: argparse.Namespace,
    asking: "AbstractContextManager[Answer]",
    limit: int | None,
    query: "Query | None" = None,
) -> None:
    from ingestd.query.read import Answer
    from ingestd.query.show import formatted, show_csv, show_json, show_table

    show = {"table": show_table, "csv": show_csv, "json": show_json}[args.format]
    with asking as answer:
        columns = [column.label or column.name for column in query.column] if query else answer.columns
        formats = [column.format for column in query.column] if query else []
        rows = iter(formatted(answer.rows, formats))
        if columns:
            show(Answer(columns, islice(rows, limit)), sys.stdout)
        if limit is not None and next(rows, None) is not None:
            print(f"only the first {limit} rows are shown; --limit N shows more", file=sys.stderr)
