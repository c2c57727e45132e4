"""What the change data demo shows. Knows not how figures are found."""

from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ingestd.demo.screen import figures_table, number


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


def line(figures: Figures) -> str:
    """The figures on one line."""
    tables = "".join(f"  {name} {source:,} -> {copy:,}" for name, source, copy in figures.tables)
    return (
        f"{figures.secs:5.0f} s  changed {figures.changed_per_sec:,.0f}/s"
        f"  applied {number(figures.applied_per_sec)}/s  lag {number(figures.lag_records)}{tables}"
        f"  {figures.last_comparison}"
    )


def picture(figures: Figures, keys: str) -> Group:
    """The figures as tables."""
    rates = figures_table(
        ("rows changed", f"{figures.changed_per_sec:,.0f}/s (asked {figures.asked_per_sec:,.0f})"),
        ("events applied", f"{number(figures.applied_per_sec)}/s"),
        ("lag", f"{number(figures.lag_records)} events"),
        ("dead letters", number(figures.dead_letters)),
    )
    sides = Table(box=None, padding=(0, 2))
    sides.add_column("table")
    for side in ("source rows", "copy rows"):
        sides.add_column(side, justify="right")
    for name, source, copy in figures.tables:
        sides.add_row(name, f"{source:,}", f"{copy:,}")
    return Group(rates, sides, Text(figures.last_comparison, style="cyan"), Text(keys))
