"""Debezium's dates and times, integers since 1970 or since midnight, into Arrow columns. Knows no records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestd.decode.columns import Builder, Built, without
from ingestd.decode.times import FIRST_DAY, FIRST_US, LAST_DAY, LAST_US, NAIVE, YEARS, ZONED, timestamps
from ingestd.schema.types import ColumnType

DAY = "days"
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY_US = 86_400_000_000
INFINITY = "infinity, which only a text column can hold"
_NANOSECONDS = "finer than a microsecond"
_INFINITE_US = {9_223_372_036_825_200_000: "infinity", -9_223_372_036_832_400_000: "-infinity"}
"""What the driver of PostgreSQL makes of infinity, in milliseconds, and Debezium keeps when it counts finer."""
_INFINITE = {
    "ms": {us // 1000: word for us, word in _INFINITE_US.items()} | _INFINITE_US,
    "us": _INFINITE_US,
    "ns": {(1 << 63) - 1: "infinity", -(1 << 63): "-infinity"} | _INFINITE_US,
    # As days, from a snapshot and from a change.
    DAY: {-622_191_234: "infinity", -625_821_272: "-infinity", -2_147_472_692: "infinity", -2_147_472_691: "-infinity"},
}


def days(column: ColumnType) -> Builder | None:
    """date, or its text, from days since 1970; None for a column of another type."""
    if column.scalar not in ("date", "text", "varchar"):
        return None
    is_text = column.scalar != "date"

    def build(values: list[Any]) -> Built:
        counts, faults = _bounded(values, FIRST_DAY, LAST_DAY, DAY)
        dates = pa.array(counts, pa.int32()).view(pa.date32())
        return _texts(dates, values, faults, DAY) if is_text else Built(dates, faults)

    return build


def times_of_day(column: ColumnType, unit: str) -> Builder | None:
    """time, or its text, from units since midnight; None for a column of another type."""
    if column.scalar not in ("time", "text", "varchar"):
        return None
    is_text = column.scalar != "time"
    count = _to_micros(unit)

    def build(values: list[Any]) -> Built:
        micros, faults = count(values)
        for row, value in enumerate(micros) if _outside(micros, 0, _DAY_US - 1) else ():
            if value is not None and not 0 <= value < _DAY_US:
                faults[row] = "not a time of day before 24:00"
                micros[row] = None
        times = pa.array(micros, pa.int64()).view(pa.time64("us"))
        return _texts(times, values, faults, "") if is_text else Built(times, faults)

    return build


def moments_since(column: ColumnType, unit: str) -> Builder | None:
    """timestamp, timestamptz, epoch or text from units since 1970; None for a column of another type."""
    if column.scalar not in ("timestamp", "timestamptz", "epoch", "text", "varchar"):
        return None
    count = _to_micros(unit)

    def build(values: list[Any]) -> Built:
        counts, faults = count(values)
        if _outside(counts, FIRST_US, LAST_US):
            for row, value in enumerate(counts):
                if value is not None and not FIRST_US <= value <= LAST_US:
                    faults[row] = INFINITY if values[row] in _INFINITE[unit] else YEARS
                    counts[row] = None
        micros = pa.array(counts, pa.int64())
        match column.scalar:
            case "timestamptz":
                return Built(micros.view(ZONED), faults)
            case "timestamp":
                return Built(micros.view(NAIVE), faults)
            case "epoch":
                return Built(pc.divide(micros.cast(pa.float64(), safe=False), 1_000_000.0), faults)
            case _:
                return _texts(micros.view(NAIVE), values, faults, unit)

    return build


def zoned(column: ColumnType) -> Builder:
    """timestamptz, or timestamp in UTC, from ZonedTimestamp: ISO-8601 with an offset, or the word infinity."""
    build_texts = timestamps(column, False, None)

    def build(values: list[Any]) -> Built:
        built = build_texts(values)
        if not built.faults:
            return built
        reasons = {row: _why(values[row], reason) for row, reason in built.faults.items()}
        return Built(built.array, reasons)

    return build


def _why(text: str, reason: str) -> str:
    if text.lstrip("-") == "infinity":
        return INFINITY
    # ISO-8601 writes a sign only in front of years that have not four digits.
    return YEARS if text[:1] in ("-", "+") else reason


def _to_micros(unit: str) -> Callable[[list[Any]], tuple[list[Any], dict[int, str]]]:
    """Values in `unit` as microseconds; those that are finer are refused."""
    factor = PER_SECOND["us"] // PER_SECOND[unit] if unit != "ns" else 0

    def count(values: list[Any]) -> tuple[list[Any], dict[int, str]]:
        if factor == 1:
            return list(values), {}
        if factor:
            return [None if value is None else value * factor for value in values], {}
        # Infinity is no whole number of microseconds either.
        faults = {
            row: INFINITY if value in _INFINITE["ns"] else _NANOSECONDS
            for row, value in enumerate(values)
            if value is not None and value % 1000
        }
        return [None if value is None or row in faults else value // 1000 for row, value in enumerate(values)], faults

    return count


def _outside(counts: list[Any], first: int, last: int) -> bool:
    given = [count for count in counts if count is not None]
    return bool(given) and (min(given) < first or max(given) > last)


def _bounded(values: list[Any], first: int, last: int, unit: str) -> tuple[list[Any], dict[int, str]]:
    if not _outside(values, first, last):
        return values, {}
    faults = {
        row: INFINITY if value in _INFINITE[unit] else YEARS
        for row, value in enumerate(values)
        if value is not None and not first <= value <= last
    }
    return [None if row in faults else value for row, value in enumerate(values)], faults


def _texts(array: pa.Array, values: list[Any], faults: dict[int, str], unit: str) -> Built:
    """As PostgreSQL writes them: with a space, without trailing zeros; infinity by its name."""
    texts = array.cast(pa.string())
    if not pa.types.is_date(array.type):
        texts = pc.replace_substring_regex(texts, r"\.?0+$", "")
    named = {row: _INFINITE[unit][values[row]] for row, reason in faults.items() if reason == INFINITY}
    if named:
        texts = pc.coalesce(texts, pa.array([named.get(row) for row in range(len(values))], pa.string()))
    return without(texts, {row: reason for row, reason in faults.items() if row not in named})
