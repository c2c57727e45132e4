"""Timestamps, dates and times out of ISO-8601 text and epoch numbers. Knows no records.

One authority: Arrow's cast of the text. The whole column is cast at once; when that fails, the doubtful values are
told apart by halving, with the same cast. What it refuses is refused: more than six fractional digits, a 60th second,
24:00.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestd.decode.columns import Builder, Built, rows_where, without
from ingestd.schema.types import ColumnType

Cast = Callable[[pa.Array], pa.Array]
Judged = tuple[pa.Array, list[int]]
"""Values with null for the refused ones, and the rows of these."""

ZONED = pa.timestamp("us", "UTC")
NAIVE = pa.timestamp("us")
FIRST_US = -62_135_596_800_000_000
LAST_US = 253_402_300_799_999_999
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
US_PER = {"s": 1_000_000, "ms": 1_000, "us": 1}

# Subsets of what Arrow takes: no 29th of February, no time without minutes, no offset without minutes.
_DATE = (
    "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
SURELY_DATE = f"^{_DATE}$"
SURELY_TIME = f"^{_CLOCK}$"
SURELY_NAIVE = f"^{_DATE}[T ]{_CLOCK}$"
SURELY_ZONED = f"^{_DATE}[T ]{_CLOCK}(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"

_HAS_OFFSET = "[T ].*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_HAS_OFFSET_ALONE = re.compile(_HAS_OFFSET)
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_FEW = 32
_SHORTEST_TIME = len("10:30")
YEARS = "outside of the years 1 to 9999"


def cast_or_null(
    texts: pa.StringArray, cast: Cast, surely: str, judge: Callable[[pa.StringArray], Judged] | None = None
) -> Judged:
    """`cast(texts)` with null for what it refuses, and the rows it refused.

    The pattern `surely` matches nothing that the cast refuses: a failed cast costs 10 us, so the bad ones are sought
    only among the others, by `judge` (default: the same cast, by halving).
    """
    try:
        return cast(texts), []
    except pa.ArrowInvalid:
        pass
    sure = pc.fill_null(pc.match_substring_regex(texts, surely), True)
    settled = cast(pc.if_else(sure, texts, pa.scalar(None, pa.string())))
    doubtful = pc.invert(sure)
    others = texts.filter(doubtful)
    judged, refused = judge(others) if judge else _halve(others, cast)
    rows = rows_where(doubtful)
    return pc.replace_with_mask(settled, doubtful, judged), [rows[position] for position in refused]


def _halve(texts: pa.StringArray, cast: Cast) -> Judged:
    pieces: list[pa.Array] = [cast(texts.slice(0, 0))]
    refused: list[int] = []
    # A few doubtful values are mostly bad ones: halving would cast each of them twice.
    size = 1 if texts.null_count == 0 and len(texts) <= _FEW else max(len(texts), 1)
    waiting = [(start, size) for start in reversed(range(0, len(texts), size))]
    while waiting:
        start, size = waiting.pop()
        try:
            pieces.append(cast(texts.slice(start, size)))
        except pa.ArrowInvalid:
            if size == 1:
                refused.append(start)
                pieces.append(pa.nulls(1, pieces[0].type))
                continue
            half = size // 2
            waiting += [(start + half, size - half), (start, half)]
    return pa.concat_arrays(pieces), refused


def timestamps(column: ColumnType, assume_utc: bool, epoch: str | None) -> Builder:
    """timestamptz, or timestamp (text with an offset is stored as its UTC wall time)."""
    zoned_column = column.scalar == "timestamptz"
    target = ZONED if zoned_column else NAIVE
    naive_allowed = assume_utc or not zoned_column
    refusal = "not a timestamp" if naive_allowed else "not a timestamp with an offset"

    def from_texts(texts: pa.StringArray) -> Built:
        array, refused = _cast_texts(texts, naive_allowed)
        return within(without(array.view(target), dict.fromkeys(refused, refusal)), FIRST_US, LAST_US, pa.int64())

    def build(values: list[Any]) -> Built:
        if epoch is None:
            return from_texts(pa.array(values, pa.string()))
        return _from_numbers(values, US_PER[epoch], target, from_texts)

    return build


def _cast_texts(texts: pa.StringArray, naive_allowed: bool) -> Judged:
    if not naive_allowed:
        return cast_or_null(texts, _zoned, SURELY_ZONED)
    if _HAS_OFFSET_ALONE.search(_first(texts)):
        return cast_or_null(texts, _zoned, SURELY_ZONED, _judge_either)
    return cast_or_null(texts, _naive, SURELY_NAIVE, _judge_either)


def _judge_either(texts: pa.StringArray) -> Judged:
    """With an offset or without; the pattern decides only which of the two casts may judge a value."""
    has_offset = pc.match_substring_regex(texts, _HAS_OFFSET)
    nothing = pa.scalar(None, pa.string())
    zoned, zoned_refused = _halve(pc.if_else(has_offset, texts, nothing), _zoned)
    naive, naive_refused = _halve(pc.if_else(has_offset, nothing, texts), _naive)
    return pc.coalesce(zoned, naive), zoned_refused + naive_refused


def _zoned(texts: pa.Array) -> pa.Array:
    return texts.cast(ZONED).view(NAIVE)


def _naive(texts: pa.Array) -> pa.Array:
    return texts.cast(NAIVE)


def _first(texts: pa.StringArray) -> str:
    return next((text for value in texts if (text := value.as_py()) is not None), "")


def _from_numbers(
    values: list[Any], factor: int, target: pa.DataType, from_texts: Callable[[pa.StringArray], Built]
) -> Built:
    """A column declared with `epoch`: numbers and numeric text count from 1970, other text is ISO-8601."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds <= {str}:
        # Arrow never takes a bare number for a timestamp, so a column of ISO texts passes here whole.
        built = from_texts(pa.array(values, pa.string()))
        if not built.faults:
            return built
    micros = [_micros(value, factor) for value in values]
    texts = [value if type(value) is str and us is None else None for value, us in zip(values, micros, strict=True)]
    built = from_texts(pa.array(texts, pa.string()))
    faults = dict(built.faults)
    for row, us in enumerate(micros):
        if us is not None and not FIRST_US <= us <= LAST_US:
            faults[row] = YEARS
            micros[row] = None
    counted = pa.array(micros, pa.int64()).view(target)
    return without(pc.coalesce(counted, built.array), faults)


def epochs(unit: str | None, assume_utc: bool) -> Builder:
    """Seconds since 1970 as double precision: numbers and numeric text count in `unit` ("s" when None), other text is
    ISO-8601 as for timestamptz. The double nearest to what is written, whichever form it has."""
    factor = US_PER["s"] // US_PER[unit or "s"]
    per_second = US_PER["s"]

    def from_texts(texts: pa.StringArray) -> Built:
        array, refused = _cast_texts(texts, assume_utc)
        micros = within(without(array.view(ZONED), dict.fromkeys(refused, "not a time")), FIRST_US, LAST_US, pa.int64())
        # Beyond the year 2255 microseconds are no longer exact in a double; the nearest one is what is wanted.
        counted = micros.array.view(pa.int64()).cast(pa.float64(), safe=False)
        return Built(pc.divide(counted, float(per_second)), micros.faults)

    def build(values: list[Any]) -> Built:
        kinds = set(map(type, values)) - {type(None)}
        if kinds <= {str}:
            built = from_texts(pa.array(values, pa.string()))
            if not built.faults:
                return built
        counted = [_seconds(value, factor) for value in values]
        texts = [
            value if type(value) is str and at is None else None for value, at in zip(values, counted, strict=True)
        ]
        faults = {}
        for row, at in enumerate(counted):
            if at is not None and not FIRST_US / per_second <= at < (LAST_US + 1) / per_second:
                faults[row] = YEARS
        built = from_texts(pa.array(texts, pa.string()))
        return without(pc.coalesce(pa.array(counted, pa.float64()), built.array), faults | built.faults)

    return build


def _seconds(value: Any, factor: int) -> float | None:
    """Seconds since 1970; None for null and for text that is not a number."""
    if type(value) is int:
        return value / factor if abs(value) <= LAST_US else float(LAST_US)
    if type(value) is float:
        return value / factor
    if type(value) is str and _NUMBER.fullmatch(value):
        return float(Decimal(value) / factor)
    return None


def moments(column: ColumnType) -> Builder:
    """Milliseconds since 1970, as Kafka has them, in whichever type the column has; text is ISO-8601 with a Z."""

    def build(values: list[int | None]) -> Built:
        bounded = [None if ms is None or not FIRST_US <= ms * 1000 <= LAST_US else ms for ms in values]
        faults = {row: YEARS for row, ms in enumerate(values) if ms is not None and bounded[row] is None}
        counts = pa.array(bounded, pa.int64())
        return Built(_moment_array(counts, column), faults)

    return build


def _moment_array(counts: pa.Int64Array, column: ColumnType) -> pa.Array:
    match column.scalar:
        case "int8":
            return counts
        case "epoch":
            return pc.divide(counts.cast(pa.float64()), 1000.0)
        case "text" | "varchar":
            return pc.strftime(counts.view(pa.timestamp("ms", "UTC")), "%Y-%m-%dT%H:%M:%SZ")
        case _:
            return pc.multiply(counts, 1000).view(column.scalar_arrow_type())


def _micros(value: Any, factor: int) -> int | None:
    """Microseconds since 1970, rounded half to even; None for null and for text that is not a number."""
    if type(value) is int:
        return value * factor
    if type(value) is float:
        return round(value * factor) if abs(value) <= LAST_US else LAST_US + 1
    if type(value) is str and _NUMBER.fullmatch(value):
        return int((Decimal(value) * factor).to_integral_value(ROUND_HALF_EVEN))
    return None


def dates(values: list[str | None]) -> Built:
    """date from YYYY-MM-DD."""
    array, refused = cast_or_null(pa.array(values, pa.string()), _date, SURELY_DATE)
    return within(without(array, dict.fromkeys(refused, "not a date")), FIRST_DAY, LAST_DAY, pa.int32())


def _date(texts: pa.Array) -> pa.Array:
    return texts.cast(pa.date32())


def times(values: list[str | None]) -> Built:
    """time from HH:MM[:SS[.ffffff]], read as that time of the first day of 1970; an offset is refused."""
    texts = pa.array(values, pa.string())
    array, refused = cast_or_null(texts, _time_of_day, SURELY_TIME)
    faults = dict.fromkeys(refused, "not a time")
    short = pc.less(pc.binary_length(texts), _SHORTEST_TIME)
    if pc.any(short).as_py():
        faults |= dict.fromkeys(rows_where(short), "not a time")
    return without(array, faults)


def _time_of_day(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar("1970-01-01T"), texts, "").cast(NAIVE).cast(pa.time64("us"))


def within(built: Built, first: int, last: int, storage: pa.DataType) -> Built:
    """Refuses what lies outside of [first, last], counted in the unit of the type."""
    counts = built.array.view(storage)
    ends = pc.min_max(counts).as_py()
    if ends["min"] is None or (ends["min"] >= first and ends["max"] <= last):
        return built
    outside = pc.or_(pc.less(counts, first), pc.greater(counts, last))
    faults = built.faults | dict.fromkeys(rows_where(outside), YEARS)
    return without(built.array, faults)
