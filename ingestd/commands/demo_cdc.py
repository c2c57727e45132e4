"""`ingestd demo cdc`: a database, its changes and the copy of it, compared while you watch. Only composes."""

import contextlib
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingestd.demo.asked import FACTORS, KEYS, STEP_SECS, Asked, pressed_keys
from ingestd.errors import ExitCode, StartupError

if TYPE_CHECKING:
    from rich.console import Console

    from ingestd.demo.cdc_compare import Sides
    from ingestd.demo.cdc_screen import Figures
    from ingestd.demo.cdc_shop import Shop
    from ingestd.demo.cdc_watch import CdcWatch
    from ingestd.demo.daemon import Daemon
    from ingestd.demo.screen import Screen
    from ingestd.embedded.stack import Stack

_CAPTURE_SECS = 60.0
_COMPARE_EVERY_SECS = 10.0
_STILL_SECS = 20.0
"""A copy that is not equal and has not changed for so long will not become equal."""


class _Parts(NamedTuple):
    """What runs."""

    stack: "Stack"
    daemon: "Daemon"
    shop: "Shop"
    watch: "CdcWatch"

    def check(self) -> None:
        """Return while all of it runs; raises StartupError otherwise."""
        import psycopg

        from ingestd.demo.cdc_daemon import CONNECTOR

        self.stack.check()
        self.daemon.check()
        if failure := self.stack.debezium.connectors.failure(CONNECTOR):
            raise StartupError(f"Debezium stopped: {failure}")
        try:
            self.shop.check()
        except psycopg.Error as error:
            raise StartupError(f"the shop's own changes were refused: {error}") from error


def run_cdc(asked: Asked, console: "Console", stack: "Stack", directory: Path) -> int:
    """Run until asked to stop; OK when source and copy are equal at the end, CRASH when they are not."""
    from ingestd.demo.cdc_daemon import CONNECTOR, COPIES, shop_source
    from ingestd.demo.cdc_screen import line, picture
    from ingestd.demo.cdc_shop import Shop, make_tables
    from ingestd.demo.cdc_watch import CdcWatch
    from ingestd.demo.daemon import Daemon
    from ingestd.demo.screen import screen

    source_url = stack.debezium.source_url
    make_tables(source_url)
    stack.debezium.connectors.put(CONNECTOR, shop_source(source_url).config())
    stack.debezium.connectors.wait_running(CONNECTOR, _CAPTURE_SECS)
    with contextlib.ExitStack() as cleanup:
        daemon = Daemon(directory, stack.bootstrap_servers, stack.postgres_url, COPIES)
        cleanup.callback(daemon.stop)
        shop = Shop(source_url, asked.per_sec)
        cleanup.callback(shop.stop)
        shop.start()
        watch = cleanup.enter_context(
            contextlib.closing(CdcWatch(source_url, stack.postgres_url, daemon.status_url, shop))
        )
        parts = _Parts(stack, daemon, shop, watch)
        if asked.wait_for("copied row", watch.copied, daemon, parts.check):
            _print_addresses(console, parts, asked.secs())
            with screen(console, line, lambda figures: picture(figures, KEYS)) as shown, pressed_keys() as pressed:
                _show_until(asked, parts, shown, pressed)
        console.print("stopping ...")
        return _settle(console, parts)


def _print_addresses(console: "Console", parts: _Parts, secs: float) -> None:
    from ingestd.demo.screen import print_lines

    debezium = parts.stack.debezium
    login = shlex.quote(f"{debezium.user}:{debezium.password}")
    print_lines(
        console,
        f"first rows   after {secs:.1f} s",
        f"status page  {parts.daemon.status_url}",
        f"source       psql {shlex.quote(debezium.source_url)}",
        f"copy         psql {shlex.quote(parts.stack.postgres_url)}",
        f"broker       {parts.stack.bootstrap_servers}, topics shop.public.customers and shop.public.orders",
        f"Debezium     curl -u {login} {debezium.url}/connectors/shop/status",
    )


def _show_until(asked: Asked, parts: _Parts, shown: "Screen[Figures]", pressed: Callable[[], str]) -> None:
    end_at = time.monotonic() + asked.seconds if asked.seconds else float("inf")
    show_at, compare_at = 0.0, time.monotonic() + _COMPARE_EVERY_SECS

    def show() -> None:
        nonlocal show_at
        if time.monotonic() >= show_at:
            parts.check()
            shown.show(parts.watch.look())
            show_at = time.monotonic() + shown.every_secs

    while not asked.stop.is_set() and time.monotonic() < end_at:
        show()
        if time.monotonic() >= compare_at:
            parts.shop.rest()
            if not _equal(parts, asked.stop.is_set, show) and not asked.stop.is_set():
                parts.watch.remember("NOT equal at rest")
            parts.shop.resume()
            show_at, compare_at = 0.0, time.monotonic() + _COMPARE_EVERY_SECS
        key = pressed()
        if key in FACTORS:
            parts.shop.change(FACTORS[key])
        asked.stop.wait(STEP_SECS)


def _equal(parts: _Parts, is_enough: Callable[[], bool], meanwhile: Callable[[], None]) -> "list[Sides]":
    """Both sides once they are equal, waiting for it as long as the copy moves; else nothing. The shop is at rest."""
    from ingestd.demo.cdc_watch import are_equal

    before: list[Sides] = []
    deadline = 0.0
    while not is_enough():
        sides = parts.watch.compare()
        if are_equal(sides):
            return sides
        if sides != before:
            before, deadline = sides, time.monotonic() + _STILL_SECS
        elif time.monotonic() > deadline:
            break
        meanwhile()
        time.sleep(STEP_SECS)
    return []


def _settle(console: "Console", parts: _Parts) -> int:
    """End the changes, let Debezium and the daemon drain, and compare both sides for the last time."""
    from ingestd.demo.cdc_watch import described

    changes = parts.shop.stop()
    sides = _equal(parts, lambda: False, parts.check)
    code = parts.daemon.stop()
    console.print(f"{changes:,} rows inserted, updated and deleted in the source", highlight=False)
    if not sides:
        for one in parts.watch.differences():
            console.print(str(one), soft_wrap=True, highlight=False, markup=False)
        console.print("source and copy are NOT equal", highlight=False)
        return int(ExitCode.CRASH)
    console.print(f"source and copy are equal: {described(sides)}", highlight=False)
    if code != ExitCode.OK:
        console.print(f"the daemon ended with exit code {code}: {parts.daemon.last_log_line()}", markup=False)
    return code
