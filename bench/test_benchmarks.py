"""`python -m pytest --benchmark-only bench`: everything that is claimed, measured; results go to bench/results.

BENCH_ROWS (1000000), BENCH_ROUNDS (3), BENCH_SECS (10; of each latency rate), BENCH_RESULTS (another directory).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.backpressure import Course, Sample, draw, measure_backpressure
from bench.compare import NOTE, throughput_entries
from bench.idle import measure_idle
from bench.latency import measure_latency
from bench.memory import measure_memory
from bench.results import DIRECTORY, save
from bench.rounds import run_rounds
from bench.servers import Servers, load_transactions

pytestmark = pytest.mark.timeout(3600)

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECS = float(os.environ.get("BENCH_SECS", "10"))
RESULTS = Path(os.environ.get("BENCH_RESULTS", str(DIRECTORY)))
RATES = (10.0, 100.0, 1000.0, 10_000.0)


def once(benchmark: BenchmarkFixture, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run it one time: rounds are interleaved inside, which pytest-benchmark cannot do."""
    found: dict[str, Any] = benchmark.pedantic(measured, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    return found


def test_throughput_beside_the_copy_limit_and_with_bad_records(benchmark: BenchmarkFixture, servers: Servers) -> None:
    entries, ratios = throughput_entries(servers, ROWS)
    result = once(benchmark, lambda: run_rounds(servers, entries, ROUNDS, ratios))
    title = f"Throughput, {ROWS:,} transactions, {ROUNDS} rounds"
    save("throughput", {"title": title, "note": NOTE, **result}, RESULTS)


def test_latency_from_produce_to_visible_row(benchmark: BenchmarkFixture, servers: Servers) -> None:
    result = once(benchmark, lambda: {"rates": [measure_latency(servers, rate, SECS) for rate in RATES]})
    note = (
        "4 partitions, one worker each. A second process sends, no linger; a reader asks PostgreSQL for each "
        "partition's highest number by index, again and again: the gap between two looks is the resolution."
    )
    save("latency", {"kind": "latency", "title": "From produce to visible row", "note": note, **result}, RESULTS)


def test_lag_and_backpressure_through_a_burst_and_a_stall(benchmark: BenchmarkFixture, servers: Servers) -> None:
    # Fast enough that a stall fills the bounded queues: below that there is lag, but no backpressure.
    course = Course(per_sec=20_000, burst_factor=10, calm_secs=SECS / 2, burst_secs=SECS / 2, stall_secs=SECS)
    result = once(benchmark, lambda: measure_backpressure(servers, course))
    title = "Lag and backpressure through a burst and a stalled database"
    note = "3 partitions. The stall: SIGSTOP of the daemon's database backends, then SIGCONT."
    whole = {"kind": "backpressure", "title": title, "note": note, "plot": "backpressure.png", **result}
    save("backpressure", whole, RESULTS)
    draw(msgspec.convert(result["samples"], list[Sample]), RESULTS / "backpressure.png")


def test_memory_stays_flat_over_a_long_run(benchmark: BenchmarkFixture, servers: Servers) -> None:
    load = load_transactions(servers, 5 * ROWS)
    result = once(benchmark, lambda: measure_memory(servers, load))
    note = "Two workers with two partitions each, direct COPY into the contract's table, as fast as they go."
    save("memory", {"kind": "memory", "title": f"Memory over {5 * ROWS:,} records", "note": note, **result}, RESULTS)


def test_idle_daemon_costs_next_to_nothing(benchmark: BenchmarkFixture, servers: Servers) -> None:
    result = once(benchmark, lambda: measure_idle(servers, max(SECS * 3, 3)))
    note = f"{result['secs']:.0f} s, 4 partitions, 4 workers, status page on and not looked at."
    save("idle", {"kind": "idle", "title": "Idle CPU", "note": note, **result}, RESULTS)
