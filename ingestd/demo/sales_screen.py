"""What the demo of sales shows. Knows nothing of how figures are found."""

from typing import NamedTuple

from rich.console import Group
from rich.text import Text

from ingestd.demo.screen import figures_table, number

_BARS = " ▁▂▃▄▅▆▇█"
_HISTORY = 60


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


def line(figures: Figures) -> str:
    """The figures on one line."""
    return (
        f"{figures.secs:5.0f} s  produced {figures.produced_per_sec:,.0f}/s  rows {number(figures.rows_per_sec)}/s"
        f"  lag {number(figures.lag_records)}  backpressure {_percent(figures.backpressure)}"
        f"  count(*) {figures.row_count:,}  max(ts) {figures.last_ts}"
    )


class Picture:
    """A table, with the lag of the last minutes as bars."""

    def __init__(self, keys: str):
        self._keys = keys
        self._lags: list[int] = []

    def __call__(self, figures: Figures) -> Group:
        """The figures, newest last."""
        self._lags = [*self._lags[-_HISTORY + 1 :], figures.lag_records or 0]
        table = figures_table(
            ("sales produced", f"{figures.produced_per_sec:,.0f}/s (asked {figures.asked_per_sec:,.0f})"),
            ("rows inserted", f"{number(figures.rows_per_sec)}/s"),
            ("lag", f"{number(figures.lag_records)} records"),
            ("backpressure", _percent(figures.backpressure)),
            ("dead letters", number(figures.dead_letters)),
            ("count(*)", f"{figures.row_count:,}"),
            ("max(ts)", figures.last_ts),
            ("that query took", f"{figures.query_ms:,.0f} ms"),
        )
        head = Text("SELECT count(*), max(ts) FROM public.sales_events", style="dim")
        return Group(table, Text(f"  lag {_bars(self._lags)}", style="cyan"), head, Text(self._keys))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _bars(values: list[int]) -> str:
    top = max([*values, 1])
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)
