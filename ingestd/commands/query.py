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
from ingestd.config.file import load
from ingestd.errors import ExitCode

if TYPE_CHECKING:
    pass

TABLE_ROWS = 1_000
"""Shown at most as a table when no limit is given: widths need all rows in memory."""
_MOST_ROWS = 1_000_000_000


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "query",
        help="show a pipeline's table, another one, or the answer to an SQL query; changes nothing",
        description=(
            "Show the pipeline's table, with the columns, headings and formats of [pipeline.query] when there are any. "
            "Reads in a transaction that cannot write."
        ),
    )
    add_config(parser)
    add_pipeline(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--table", metavar="NAME", help="another table of the store")
    what.add_argument("--sql", metavar="QUERY", help="one SQL query instead")
    parser.add_argument(
        "--limit",
        type=count_up_to(_MOST_ROWS),
        metavar="N",
        help=f"rows at most (default: {TABLE_ROWS} as a table, else all)",
    )
    parser.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="how to print (default: table)"
    )
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Print the answer. Raises: StartupError when the store cannot be asked, or refuses the query."""
    from ingestd.query.read import Answer, ask_store, select_table
    from ingestd.query.show import formatted, show_csv, show_json, show_table

    config = load(args.config)
    apart = args.sql or args.table
    pipeline = pipelines_named(config, args.pipeline)[0] if apart else one_pipeline(config, args.pipeline)
    require_running("query", config)
    limit = args.limit or (TABLE_ROWS if args.format == "table" else None)
    # One row more than is shown tells whether there are more.
    statement = args.sql or select_table(pipeline, args.table, None if limit is None else limit + 1)
    query = None if apart else pipeline.query
    show = {"table": show_table, "csv": show_csv, "json": show_json}[args.format]
    with ask_store(config.store, statement) as answer:
        columns = [column.label or column.name for column in query.column] if query else answer.columns
        formats = [column.format for column in query.column] if query else []
        rows = iter(formatted(answer.rows, formats))
        if columns:
            show(Answer(columns, islice(rows, limit)), sys.stdout)
        if limit is not None and next(rows, None) is not None:
            print(f"only the first {limit} rows are shown; --limit N shows more", file=sys.stderr)
    return ExitCode.OK
