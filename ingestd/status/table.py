"""The JSON of /api/partitions as text: a table for a terminal, plain lines for a pipe. Knows no HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Json = dict[str, Any]

_STYLES = {"running": "green", "claiming": "yellow", "retrying": "yellow", "halted": "bold red"}
_STAGES = ("decode", "encode", "write", "commit")
_UPSERTS = ("updated", "deleted", "stale", "folded", "passed")
_HEADINGS = (
    "part",
    "state",
    "next offset",
    "log end",
    "lag",
    "behind",
    "rows/s",
    "batch ms",
    "pressure",
    "retries",
    "dead",
)
_LEGEND = (
    "batch ms: decode+encode+write+commit; pressure: share of time in which reading waits for writing; "
    "dead: dead letters"
)
_NARROW_COLUMNS = 100
_MOST_CURSORS = 8
_LEFT_OUT_WHEN_NARROW = frozenset({"log end", "batch ms"})


def clean(text: str) -> str:
    """`text` on one line, without control characters: a terminal must not obey what a record or server says."""
    return "".join(char if char.isprintable() else " " for char in text)


def count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def duration(secs: float | None) -> str:
    """Like "0 s", "40 ms", "12.0 s", "5 min", "3.0 h"."""
    if secs is None:
        return "-"
    if 0 < secs < 1:
        return f"{secs * 1000:.0f} ms"
    if secs < 100:
        return f"{secs:.1f} s" if secs else "0 s"
    return f"{secs / 60:.0f} min" if secs < 6000 else f"{secs / 3600:.1f} h"


def _millis(millis: float) -> str:
    return f"{millis:.0f}" if millis >= 10 or millis == 0 else f"{millis:.1f}"


def _cells(partition: Json, topics: bool = False) -> tuple[str, ...]:
    """`topics`: the partition is named with its topic."""
    stages = "+".join(_millis(partition["batch_ms"][stage]) for stage in _STAGES)
    place = f"{clean(partition['topic'])}-" if topics else ""
    return (
        f"{place}{partition['partition']}",
        clean(partition["state"]),
        count(partition["next_offset"]),
        count(partition["log_end"]),
        count(partition["lag_records"]),
        duration(partition["lag_secs"]),
        count(partition["rows_per_sec"]),
        stages,
        f"{partition['backpressure']:.0%}",
        count(partition["retries"]),
        count(partition["dead_letters"]),
    )


def _sums(total: Json) -> str:
    lag = "caught up" if total["lag_records"] == 0 else f"lag {count(total['lag_records'])} records"
    if total["lag_records"]:
        lag += f", {duration(total['lag_secs'])}"
    upserts = "".join(f"{count(total[name])} {name}, " for name in _UPSERTS if total[name])
    return (
        f"{count(total['rows_per_sec'])} rows/s, {lag}, backpressure {total['backpressure']:.0%}, "
        f"{count(total['rows'])} rows, {upserts}{count(total['duplicates'])} duplicates, "
        f"{count(total['dead_letters'])} dead letters"
    )


def _head(status: Json) -> str:
    moment = datetime.fromtimestamp(status["at_ms"] / 1000).strftime("%H:%M:%S")
    state = "ready" if status["ready"] else "not ready"
    run = f"  run {clean(status['run_id'])}" if status.get("run_id") else ""
    return f"ingestd {clean(status['version'])}{run}  {moment}  {state}  {_sums(status['total'])}"


def _title(pipeline: Json) -> str:
    into = " and ".join(filter(None, [pipeline["table"], pipeline["lake"] and f"lake {pipeline['lake']['path']}"]))
    return clean(f"{pipeline['name']}: topic {pipeline['topic']} into {into}")


def _lake(pipeline: Json) -> list[str]:
    """The line of its lake, when it has one that was heard of."""
    lake = pipeline["lake"]
    if lake is None or not pipeline["partitions"]:
        return []
    rolled = lake["last_roll_ms"]
    last = datetime.fromtimestamp(rolled / 1000).strftime("%H:%M:%S") if rolled else "never"
    cursors = ", ".join(count(partition["lake_next_offset"]) for partition in pipeline["partitions"][:_MOST_CURSORS])
    more = ", .." if len(pipeline["partitions"]) > _MOST_CURSORS else ""
    return [
        f"lake: next offset {cursors}{more}; lag {count(lake['lag_records'])} records, "
        f"{count(lake['open_rows'])} rows open; "
        f"{count(lake['files'])} files with {count(lake['rows'])} rows committed, last at {last}"
    ]


def _reasons(status: Json) -> list[str]:
    return [clean(reason["message"]) for reason in status["reasons"]]


def _has_topics(pipeline: Json) -> bool:
    """Whether its partitions are of topics that its own words do not name."""
    return any(partition["topic"] != pipeline["topic"] for partition in pipeline["partitions"])


def _errors(partitions: Sequence[Json], told: Sequence[str]) -> list[str]:
    """Texts of partitions that no reason has told already."""
    lines = []
    for partition in partitions:
        text = clean(partition["error"] or "")
        if text and not any(text in reason for reason in told):
            lines.append(f"{clean(partition['topic'])}-{partition['partition']}: {text}")
    return lines


def rich_view(status: Json, width: int) -> RenderableType:
    """For a terminal of this many columns: one table a pipeline."""
    reasons = _reasons(status)
    parts: list[RenderableType] = [Text(_head(status), style="bold green" if status["ready"] else "bold red")]
    parts += [Text(reason, style="red") for reason in reasons]
    for pipeline in status["pipelines"]:
        parts += [Text(""), Text(_title(pipeline), style="bold")]
        parts.append(_table(pipeline, width) if pipeline["partitions"] else Text("no partition here"))
        parts += [Text(line) for line in _lake(pipeline)]
        parts += [Text(line, style="yellow") for line in _errors(pipeline["partitions"], reasons)]
    return Group(*parts, Text(_LEGEND, style="dim"))


def _table(pipeline: Json, width: int) -> Table:
    left_out = _LEFT_OUT_WHEN_NARROW if width < _NARROW_COLUMNS else frozenset()
    shown = [index for index, heading in enumerate(_HEADINGS) if heading not in left_out]
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for index in shown:
        table.add_column(_HEADINGS[index], justify="left" if index == 1 else "right", no_wrap=True)
    topics = _has_topics(pipeline)
    for partition in pipeline["partitions"]:
        cells = [Text(cell) for cell in _cells(partition, topics)]
        cells[1].stylize(_STYLES.get(partition["state"], "dim"))
        table.add_row(*(cells[index] for index in shown))
    return table


def plain_lines(status: Json) -> list[str]:
    """For a pipe: no colour, no frame, aligned columns."""
    reasons = _reasons(status)
    lines = [_head(status), *reasons]
    for pipeline in status["pipelines"]:
        lines += ["", _title(pipeline)]
        topics = _has_topics(pipeline)
        rows = [_HEADINGS, *(_cells(partition, topics) for partition in pipeline["partitions"])]
        if len(rows) == 1:
            lines.append("no partition here")
            continue
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines += [*_lake(pipeline), *_errors(pipeline["partitions"], reasons)]
    return [*lines, "", _LEGEND]
