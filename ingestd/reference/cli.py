"""docs/cli.md, rendered from the parsers and the exit codes. Knows nothing of what the commands do."""

import argparse
import ast
import functools
import inspect
from collections.abc import Iterator
from itertools import pairwise

from ingestd.cli import build_parser
from ingestd.errors import ExitCode

_WIDTH = 100
_HEAD = """# Command line

Generated from the parsers by `python -m ingestd.reference.cli`; do not edit.
An error is one line on standard error, `ingestd: error: ...`; a wrong configuration gives one line per problem.
"""


def render() -> str:
    """The whole page; the same on every terminal."""
    sections = "".join(f"\n## {parser.prog}\n\n```text\n{_help(parser)}```\n" for parser in _parsers(build_parser()))
    codes = "".join(f"| {code.value} | {code.name} | {meaning} |\n" for code, meaning in _exit_codes())
    return (
        _HEAD
        + sections
        + "\n## Exit codes\n\n| code | name | meaning |\n|---|---|---|\n"
        + codes
        + "| 130 | - | Interrupted by Ctrl-C before the command could end by itself. |\n"
        + "| 141 | - | The reader of the output went away. |\n"
    )


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, then those of its subcommands, depth first."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def _help(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = functools.partial(argparse.HelpFormatter, width=_WIDTH)
    return parser.format_help()


def _exit_codes() -> Iterator[tuple[ExitCode, str]]:
    """Every code with the docstring behind it."""
    (cls,) = ast.parse(inspect.getsource(ExitCode)).body
    assert isinstance(cls, ast.ClassDef)
    for statement, following in pairwise(cls.body):
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            assert isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            yield ExitCode[statement.targets[0].id], " ".join(str(following.value.value).split())


if __name__ == "__main__":
    print(render(), end="")
