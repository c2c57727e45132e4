"""Runs `ingestd check` in this process on a file made for the test. Knows no servers."""

import argparse
import contextlib
import io
import json
from pathlib import Path

from msgspec import Struct

from ingestd.commands import check

COLUMNS = """
  { name = "id", type = "text", required = true },
  { name = "amount", type = "numeric(10,2)", required = true },
"""


class Answer(Struct):
    """What the command printed (as JSON) and its exit code."""

    code: int
    findings: list[dict[str, str]]
    text: str

    def of(self, subject: str) -> list[dict[str, str]]:
        """The findings about `subject`."""
        return [found for found in self.findings if found["subject"] == subject]


def write_config(
    folder: Path,
    *,
    servers: str = "embedded",
    properties: str = "",
    url: str = "embedded",
    topic: str = "events",
    columns: str = COLUMNS,
    table: str = 'name = "events"\nmode = "insert"\nkey = ["id"]',
    start: str = "earliest",
) -> Path:
    """A configuration with one pipeline, as a file."""
    path = folder / "ingestd.toml"
    path.write_text(
        f"""
[kafka]
bootstrap_servers = "{servers}"
group_id = "check-{topic}"
properties = {{ {properties} }}
[store]
url = "{url}"
[[pipeline]]
name = "events"
topic = "{topic}"
start = "{start}"
column = [{columns}]
[pipeline.table]
{table}
"""
    )
    return path


def run_check(path: Path, *options: str) -> Answer:
    """`ingestd check --config path --json`."""
    parser = argparse.ArgumentParser()
    check.add_parser(parser.add_subparsers())
    args = parser.parse_args(["check", "--config", str(path), *options, "--json"])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = args.main(args)
    return Answer(int(code), json.loads(printed.getvalue()), printed.getvalue())
