"""Where a demo shows its figures: redrawn in place on a terminal, a plain line now and then otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table

_PLAIN_EVERY_SECS = 2.0
_LIVE_EVERY_SECS = 0.5

Figures = TypeVar("Figures")


class Screen(NamedTuple, Generic[Figures]):
    """Where figures are shown."""

    every_secs: float
    show: Callable[[Figures], None]
    """Show the newest figures."""


@contextmanager
def screen(
    console: Console, line: Callable[[Figures], str], picture: Callable[[Figures], RenderableType]
) -> Iterator[Screen[Figures]]:
    """The screen that fits this console: a `picture` that is redrawn, or a `line` each time."""
    if not console.is_terminal:
        yield Screen(_PLAIN_EVERY_SECS, lambda figures: console.print(line(figures), soft_wrap=True, highlight=False))
        return
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        yield Screen(_LIVE_EVERY_SECS, lambda figures: live.update(picture(figures)))


def print_lines(console: Console, *lines: str) -> None:
    """Print each as it is, so that it can be copied."""
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def figures_table(*rows: tuple[str, str]) -> Table:
    """Names and their figures."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(justify="right", min_width=30)
    for row in rows:
        table.add_row(*row)
    return table


def number(value: float | None) -> str:
    """ "12,345"; "-" where it is not known."""
    return "-" if value is None else f"{value:,.0f}"
