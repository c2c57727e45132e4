"""Rounds: every contender once in each, odd rounds in reverse order, so that drift hits all alike."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from bench.contenders import Contender
from bench.measured import Run, measure
from bench.results import spread
from bench.servers import Load, Servers
from bench.tables import Target

_SPREADS = (
    *("rows_per_sec", "total_rows_per_sec", "startup_secs", "process_us", "worker_us", "postgres_us", "kafka_us"),
    *("process_whole_us", "worker_whole_us", "peak_rss_mb", "worker_peak_rss_mb"),
)


class Entry(NamedTuple):
    """A contender with its table and topic."""

    contender: Contender
    target: Target
    load: Load

    @property
    def label(self) -> str:
        """For the table and for ratios."""
        return f"{self.target.name}: {self.contender.name}"


class Ratio(NamedTuple):
    """`numerator` / `denominator` in rows/s steady, per round; both are labels of entries."""

    numerator: str
    denominator: str


def print_run(run: Run) -> None:
    """One line on standard error."""
    worker = "" if run.worker_us is None else f", workers {run.worker_us:.1f}"
    print(
        f"{run.target:9s} {run.contender:30s} {run.rows_per_sec:10,.0f} rows/s steady, "
        f"start-up {run.startup_secs:.1f} s, CPU us/row: all {run.process_us:.1f}{worker}, "
        f"postgres {run.postgres_us:.1f}",
        file=sys.stderr,
        flush=True,
    )


def run_rounds(servers: Servers, entries: Sequence[Entry], rounds: int, ratios: Sequence[Ratio] = ()) -> dict[str, Any]:
    """All runs with their spreads, and the ratios, ready for `results.save`."""
    runs: dict[str, list[Run]] = {entry.label: [] for entry in entries}
    for number in range(rounds):
        for entry in entries if number % 2 == 0 else list(entries)[::-1]:
            run = measure(servers, entry.contender, entry.target, entry.load)
            print_run(run)
            runs[entry.label].append(run)
    return {
        "kind": "throughput",
        "rounds": rounds,
        "contenders": [_summary(runs[entry.label]) for entry in entries],
        "ratios": [_ratio(ratio, runs) for ratio in ratios],
    }


def _summary(runs: list[Run]) -> dict[str, Any]:
    summary: dict[str, Any] = {"contender": runs[0].contender, "target": runs[0].target, "rows": runs[0].rows}
    for name in _SPREADS:
        values = [getattr(run, name) for run in runs]
        summary[name] = None if None in values else spread(values)
    return summary | {"runs": [msgspec.to_builtins(run) for run in runs]}


def _ratio(ratio: Ratio, runs: dict[str, list[Run]]) -> dict[str, Any]:
    pairs = zip(runs[ratio.numerator], runs[ratio.denominator], strict=True)
    by_round = [above.rows_per_sec / below.rows_per_sec for above, below in pairs]
    return {"what": f"{ratio.numerator} / {ratio.denominator}"} | spread(by_round)
