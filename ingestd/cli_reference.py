"""docs/cli.md from the parser and the exit codes. Knows nothing of what the commands do."""

import argparse
import inspect
import re
import textwrap
from collections.abc import Iterator

from ingestd.cli import build_parser
from ingestd.errors import ExitCode

HEAD = """\
# Command line

Generated from the commands' own options by `make docs`; do not edit.
An error is one line on standard error that says what happened, where, and what to do next.
"""


def render() -> str:
    """The page: every command with its arguments and options, then the exit codes."""
    parts = [HEAD]
    for name, parser, summary in commands(build_parser()):
        said = _sentence(parser.description or summary)
        parts.append(f"## `ingestd {name}`\n\n{said}\n\n{_usage(name, parser)}\n{_options(parser)}")
    parts.append(_exit_codes())
    return "\n".join(parts)


def commands(parser: argparse.ArgumentParser, above: str = "") -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """(name, parser, one-line help) of every command; of a group its members, as "offsets show"."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                nested = list(commands(below, f"{above}{name} "))
                yield from nested or [(f"{above}{name}", below, helps.get(name, ""))]


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [word for action in parser._actions if (word := _usage_word(action))]
    line = " ".join([f"ingestd {name}", *words]).replace("\\|", "|")
    text = textwrap.fill(line, 100, subsequent_indent="    ", break_on_hyphens=False)
    return f"```\n{text}\n```\n"


def _usage_word(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction):
        return ""
    word = " ".join([*action.option_strings[-1:], *_value(action)])
    return word if action.required else f"[{word}]"


def _value(action: argparse.Action) -> list[str]:
    """What follows the option; nothing for a switch."""
    if action.nargs == 0:
        return []
    if action.choices:
        return ["\\|".join(str(choice) for choice in action.choices)]
    shown = action.metavar or (action.dest if not action.option_strings else action.dest.upper())
    return [shown if isinstance(shown, str) else " ".join(shown)]


def _options(parser: argparse.ArgumentParser) -> str:
    rows = [
        f"| `{' '.join([', '.join(action.option_strings), *_value(action)]).strip()}` | {_text(action.help or '')} |"
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *rows, ""]) if rows else ""


def _text(help_text: str) -> str:
    """Help as one line of a page: no line breaks, no bar that would end a table cell."""
    return re.sub(r"\s+", " ", help_text.replace("%%", "%")).strip().replace("|", "\\|")


def _sentence(help_text: str) -> str:
    text = _text(help_text)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _exit_codes() -> str:
    meanings = dict(re.findall(r'(\w+) = \d+\s+"""(.*?)"""', inspect.getsource(ExitCode), re.DOTALL))
    rows = [f"| {int(code)} | {code.name} | {_text(meanings[code.name])} |" for code in ExitCode]
    return "\n".join(
        [
            "## Exit codes",
            "",
            "Ctrl-C before a command has taken it over ends with 130.",
            "",
            "| code | name | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )
