"""What the change data demo shows: tables on a terminal, plain lines otherwise. Knows not how figures are found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ingestd.demo.screen import LIVE_EVERY_SECS, PLAIN_EVERY_SECS


class Figures(NamedTuple):
    """One look at the running demo; None where it is not known yet. `tables` are (name, source rows, copy rows)."""

    secs: float
    asked_per_sec: float
    changed_per_sec: float
    applied_per_sec: float | None
    lag_records: int | None
    dead_letters: int | None
    tables: list[tuple[str, int, int]]
    last_comparison: str


class Screen(Protocol):
    """Where figures are shown."""

    every_secs: float

    def show(self, figures: Figures) -> None:
        """Show the newest figures."""
        ...


class Lines:
    """One plain line each time."""

    every_secs = PLAIN_EVERY_SECS

    def __init__(self, console: Console):
        self._console = console

    def show(self, figures: Figures) -> None:
        """Print them."""
        tables = "".join(f"  {name} {source:,} -> {copy:,}" for name, source, copy in figures.tables)
        self._console.print(
            f"{figures.secs:5.0f} s  changed {figures.changed_per_sec:,.0f}/s"
            f"  applied {_number(figures.applied_per_sec)}/s  lag {_number(figures.lag_records)}{tables}"
            f"  {figures.last_comparison}",
            soft_wrap=True,
            highlight=False,
        )


class LiveTables:
    """Tables that are redrawn in place."""

    every_secs = LIVE_EVERY_SECS

    def __init__(self, live: Live, keys: str):
        self._live = live
        self._keys = keys

    def show(self, figures: Figures) -> None:
        """Redraw."""
        rates = Table(box=None, show_header=False, padding=(0, 2))
        rates.add_column(style="bold")
        rates.add_column(justify="right", min_width=30)
        rates.add_row("rows changed", f"{figures.changed_per_sec:,.0f}/s (asked {figures.asked_per_sec:,.0f})")
        rates.add_row("events applied", f"{_number(figures.applied_per_sec)}/s")
        rates.add_row("lag", f"{_number(figures.lag_records)} events")
        rates.add_row("dead letters", _number(figures.dead_letters))
        sides = Table(box=None, padding=(0, 2))
        sides.add_column("table")
        for side in ("source rows", "copy rows"):
            sides.add_column(side, justify="right")
        for name, source, copy in figures.tables:
            sides.add_row(name, f"{source:,}", f"{copy:,}")
        self._live.update(Group(rates, sides, Text(figures.last_comparison, style="cyan"), Text(self._keys)))


@contextmanager
def screen(console: Console, keys: str) -> Iterator[Screen]:
    """The screen that fits this console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveTables(live, keys)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
