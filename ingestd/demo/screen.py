"""What the demo shows: a live table on a terminal, plain lines otherwise. Knows nothing of how figures are found."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 60
PLAIN_EVERY_SECS = 2.0
LIVE_EVERY_SECS = 0.5


class Figures(NamedTuple):
    """One look at the running demo; None where it is not known yet."""

    secs: float
    asked_per_sec: float
    produced_per_sec: float
    rows_per_sec: float | None
    lag_records: int | None
    backpressure: float | None
    dead_letters: int | None
    row_count: int
    last_ts: str
    query_ms: float


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
        self._console.print(
            f"{figures.secs:5.0f} s  produced {figures.produced_per_sec:,.0f}/s  rows {_number(figures.rows_per_sec)}/s"
            f"  lag {_number(figures.lag_records)}  backpressure {_percent(figures.backpressure)}"
            f"  count(*) {figures.row_count:,}  max(ts) {figures.last_ts}",
            soft_wrap=True,
            highlight=False,
        )


class LiveTable:
    """A table that is redrawn in place, with the lag of the last minutes as bars."""

    every_secs = LIVE_EVERY_SECS

    def __init__(self, live: Live, keys: str):
        self._live = live
        self._keys = keys
        self._lags: list[int] = []

    def show(self, figures: Figures) -> None:
        """Redraw."""
        self._lags = [*self._lags[-_HISTORY + 1 :], figures.lag_records or 0]
        table = Table(box=None, show_header=False, padding=(0, 2))
        table.add_column(style="bold")
        table.add_column(justify="right", min_width=30)
        table.add_row("sales produced", f"{figures.produced_per_sec:,.0f}/s (asked {figures.asked_per_sec:,.0f})")
        table.add_row("rows inserted", f"{_number(figures.rows_per_sec)}/s")
        table.add_row("lag", f"{_number(figures.lag_records)} records")
        table.add_row("backpressure", _percent(figures.backpressure))
        table.add_row("dead letters", _number(figures.dead_letters))
        table.add_row("count(*)", f"{figures.row_count:,}")
        table.add_row("max(ts)", figures.last_ts)
        table.add_row("that query took", f"{figures.query_ms:,.0f} ms")
        head = Text("SELECT count(*), max(ts) FROM public.sales_events", style="dim")
        self._live.update(Group(table, Text(f"  lag {_bars(self._lags)}", style="cyan"), head, Text(self._keys)))


@contextmanager
def screen(console: Console, keys: str) -> Iterator[Screen]:
    """The screen that fits this console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield LiveTable(live, keys)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _bars(values: list[int]) -> str:
    top = max([*values, 1])
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)
