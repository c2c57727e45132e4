"""`ingestd demo`: sales into a table, end to end from nothing, with live figures. Only composes."""

import argparse
import contextlib
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from ingestd.demo.asked import FACTORS, KEYS, STEP_SECS, Asked, pressed_keys
from ingestd.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from ingestd.demo.daemon import Daemon
    from ingestd.demo.load import Load
    from ingestd.demo.sales_screen import Figures
    from ingestd.demo.screen import Screen
    from ingestd.demo.watch import Watch
    from ingestd.embedded.stack import Stack

_RATES = {"sales": 5000.0, "cdc": 500.0}
_DRAIN_SECS = 10.0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="start Kafka and PostgreSQL, produce sales or capture changes, and watch the rows arrive",
        description="Start a real Kafka and a real PostgreSQL on this machine, produce sales, run the daemon, and show "
        "rates, lag and the table until Ctrl-C. Or cdc: a shop's database whose tables change all the time, Debezium, "
        "and a copy of them; both sides are compared now and then, and at the end. Everything is temporary. "
        "Needs: pip install 'ingestd[embedded]'.",
    )
    parser.add_argument(
        "what", nargs="?", choices=sorted(_RATES), default="sales", help="what to show (default: sales)"
    )
    parser.add_argument("--rate", type=_positive, help="sales a second (default: 5000), or changes (default: 500)")
    parser.add_argument("--seconds", type=_positive, help="end by itself after so many seconds of load")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run until INT, TERM or `--seconds`; 0 when every sale became a row, or every change arrived in the copy.

    Raises: StartupError when the servers or the daemon cannot be started, or end by themselves.
    """
    # Parsers of all commands are built for every command; only this one needs these.
    from rich.console import Console

    from ingestd.commands.demo_cdc import run_cdc
    from ingestd.embedded.progress import shown_on
    from ingestd.embedded.stack import start_stack

    began = time.monotonic()
    stop = threading.Event()

    def handle_stop(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    console = Console()
    is_cdc = args.what == "cdc"
    console.print(f"starting Kafka{', PostgreSQL and Debezium' if is_cdc else ' and PostgreSQL'} ...")
    with shown_on(console) as progress:
        stack = start_stack(progress=progress, database="kafka_sink", source_database="shop" if is_cdc else None)
    previous = {number: signal.signal(number, handle_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with stack, tempfile.TemporaryDirectory(prefix="ingestd-demo-") as directory:
            wanted = Asked(args.rate or _RATES[args.what], args.seconds, began, stop)
            return (run_cdc if is_cdc else _run)(wanted, console, stack, Path(directory))
    except KeyboardInterrupt:
        return int(ExitCode.ABORTED)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Parts(NamedTuple):
    """What runs."""

    stack: "Stack"
    daemon: "Daemon"
    load: "Load"
    watch: "Watch"

    def check(self) -> None:
        """Return while servers and daemon run; raises StartupError otherwise."""
        self.stack.check()
        self.daemon.check()


def _run(asked: Asked, console: "Console", stack: "Stack", directory: Path) -> int:
    from ingestd.demo.daemon import Daemon
    from ingestd.demo.load import Load, make_topic
    from ingestd.demo.sales_screen import Picture, line
    from ingestd.demo.screen import screen
    from ingestd.demo.watch import Watch

    make_topic(stack.bootstrap_servers)
    with contextlib.ExitStack() as cleanup:
        daemon = Daemon(directory, stack.bootstrap_servers, stack.postgres_url)
        cleanup.callback(daemon.stop)
        load = Load(stack.bootstrap_servers, asked.per_sec)
        cleanup.callback(load.stop)
        load.start()
        watch = cleanup.enter_context(contextlib.closing(Watch(stack.postgres_url, daemon.status_url, load)))
        parts = _Parts(stack, daemon, load, watch)
        if asked.wait_for("row", watch.row_exists, daemon, parts.check):
            _print_addresses(console, parts, asked.secs())
            with screen(console, line, Picture(KEYS)) as shown, pressed_keys() as pressed:
                _show_until(asked, parts, shown, pressed)
        console.print("stopping ...")
        return _settle(console, parts)


def _print_addresses(console: "Console", parts: _Parts, secs: float) -> None:
    from ingestd.demo.screen import print_lines

    print_lines(
        console,
        f"first row    after {secs:.1f} s",
        f"status page  {parts.daemon.status_url}",
        f"table        psql {shlex.quote(parts.stack.postgres_url)}",
        f"broker       {parts.stack.bootstrap_servers}, topic sales",
    )


def _show_until(asked: Asked, parts: _Parts, shown: "Screen[Figures]", pressed: Callable[[], str]) -> None:
    end_at = time.monotonic() + asked.seconds if asked.seconds else float("inf")
    show_at = 0.0
    while not asked.stop.is_set() and time.monotonic() < end_at:
        if time.monotonic() >= show_at:
            parts.check()
            shown.show(parts.watch.look())
            show_at = time.monotonic() + shown.every_secs
        key = pressed()
        if key in FACTORS:
            parts.load.change(FACTORS[key])
        asked.stop.wait(STEP_SECS)


def _settle(console: "Console", parts: _Parts) -> int:
    """Stop producing, let the daemon drain, and compare what went in with what came out."""
    sent = parts.load.stop()
    deadline = time.monotonic() + _DRAIN_SECS
    while parts.watch.row_count() < sent and time.monotonic() < deadline:
        parts.check()
        time.sleep(STEP_SECS)
    code = parts.daemon.stop()
    rows = parts.watch.row_count()
    console.print(f"produced {sent:,} sales, {rows:,} rows in public.sales_events", highlight=False)
    if code != ExitCode.OK:
        console.print(f"the daemon ended with exit code {code}: {parts.daemon.last_log_line()}", markup=False)
        return code
    return int(ExitCode.OK if rows == sent else ExitCode.CRASH)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
