"""The command line: finds the command, prints errors, returns the exit code. Knows nothing of a command's work."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from ingestd import __version__, logs
from ingestd.errors import ConfigError, ExitCode, IngestdError, Retryable

COMMANDS = (
    "run",
    "check",
    "status",
    "offsets",
    "dead-letters",
    "verify",
    "lake",
    "query",
    "contract",
    "init",
    "dev",
    "demo",
)
"""Each is a module in ingestd.commands with add_parser(subparsers), which sets `main`: a function (args) -> int."""

INTERRUPTED = 130
BROKEN_PIPE = 141


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of these commands; with one command only its module is loaded."""
    parser = argparse.ArgumentParser(
        prog="ingestd", description="Kafka records into PostgreSQL or SQLite, exactly once, from one TOML file."
    )
    parser.add_argument("--version", action="version", version=f"ingestd {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in commands:
        importlib.import_module(f"ingestd.commands.{name.replace('-', '_')}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error of ours is one line on standard error (a configuration's, one line per problem)."""
    words = list(sys.argv[1:] if argv is None else argv)
    logs.configure("info", "auto", "ingestd")
    try:
        args = build_parser(words[:1] if words and words[0] in COMMANDS else COMMANDS).parse_args(words)
        code = int(args.main(args))
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            print(f"ingestd: error: {problem}", file=sys.stderr)
        return int(error.exit_code)
    except IngestdError as error:
        print(f"ingestd: error: {error}", file=sys.stderr)
        # What a daemon would try again: a command ends, and says that a server is missing.
        return int(ExitCode.STARTUP if isinstance(error, Retryable) else error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone. Python would complain again when it flushes at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


if __name__ == "__main__":
    sys.exit(main())
