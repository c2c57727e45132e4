"""What the rules of a column must not say: rules that its type cannot have, values it cannot hold, bounds that cross.

Knows no records. Patterns are judged by RE2 itself, in a process of its own when Arrow is not loaded here: the
supervisor must never load it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from ingestd.config.options import Column, Pipeline
from ingestd.config.values import Findings
from ingestd.schema.types import ColumnType, parse_type

_TEXTS = ("text", "varchar")
_INTEGERS = {"int2": 16, "int4": 32, "int8": 64}
_NUMBERS = (*_INTEGERS, "float4", "float8", "numeric", "epoch")
_TIMES = ("timestamptz", "timestamp", "date", "time")
_BOUNDED = (*_NUMBERS, *_TIMES)
_LISTED = (*_TEXTS, *_BOUNDED, "uuid")
_FITTING = {
    "enum": (_LISTED, "texts, numbers, dates, times and uuid"),
    "min": (_BOUNDED, "numbers, dates and times"),
    "max": (_BOUNDED, "numbers, dates and times"),
    "pattern": (_TEXTS, "text and varchar"),
    "max_length": (_TEXTS, "text and varchar"),
    "format": (_TEXTS, "text and varchar"),
}
_COMPILE = (
    "import json, sys\n"
    "import pyarrow, pyarrow.compute\n"
    "found = {}\n"
    "for pattern in json.load(sys.stdin):\n"
    "    try:\n"
    "        pyarrow.compute.match_substring_regex(pyarrow.array(['']), pattern)\n"
    "    except pyarrow.ArrowInvalid as error:\n"
    "        found[pattern] = str(error)\n"
    "json.dump(found, sys.stdout)\n"
)
_COMPILE_SECS = 60


def check_rules(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every rule that cannot be kept, in the columns of all pipelines and of their contract versions."""
    patterns: dict[str, list[str]] = {}
    for place, column in _columns(pipelines):
        try:
            kind = parse_type(column.type)
        except (ValueError, AttributeError, TypeError):
            continue  # Said where types are checked.
        for rule, message in _problems(column, kind):
            if not findings.spoiled(f"{place}.{rule}"):
                findings.add(f"{place}.{rule}", message)
        if column.pattern is not None and kind.scalar in _TEXTS:
            patterns.setdefault(column.pattern, []).append(f"{place}.pattern")
    for pattern, reason in refused_patterns(list(patterns)).items():
        for place in patterns[pattern]:
            findings.add(place, f"is no regular expression that RE2 takes: {reason}")


def refused_patterns(patterns: list[str]) -> dict[str, str]:
    """Pattern -> why RE2 cannot compile it (look-around and back references are not linear, so it has none)."""
    if not patterns:
        return {}
    unreadable = {pattern: "not text of Unicode" for pattern in patterns if not _is_unicode(pattern)}
    rest = [pattern for pattern in patterns if pattern not in unreadable]
    refused = _compiled_here(rest) if "pyarrow" in sys.modules else _compiled_apart(rest)
    return unreadable | {pattern: _said(error) for pattern, error in refused.items()}


def _columns(pipelines: tuple[Pipeline, ...]) -> Iterator[tuple[str, Column]]:
    for index, pipeline in enumerate(pipelines):
        path = f"pipeline[{index}]"
        yield from ((f"{path}.column[{number}]", column) for number, column in enumerate(pipeline.column))
        for version, contract in enumerate(pipeline.contract):
            for number, column in enumerate(contract.column):
                yield f"{path}.contract[{version}].column[{number}]", column


def _problems(column: Column, kind: ColumnType) -> Iterator[tuple[str, str]]:
    given: dict[str, Any] = {
        rule: value for rule in _FITTING if (value := getattr(column, rule)) is not None and value != ()
    }
    fitting: dict[str, list[Any]] = {}
    for rule, value in given.items():
        scalars, said = _FITTING[rule]
        if kind.scalar not in scalars or (kind.is_array and kind.scalar == "uuid"):
            yield rule, f"is for {said}, not for {kind.name}; remove it"
        elif rule in ("enum", "min", "max"):
            bounding = rule != "enum"
            values = [value] if bounding else list(value)
            read = [_read(one, kind, bounding) for one in values]
            if None in read:
                yield rule, f"{_shown(values[read.index(None)])} does not fit {kind.name}; {_wanted(kind)}"
            else:
                fitting[rule] = read
    if "min" in fitting and "max" in fitting and fitting["min"][0] > fitting["max"][0]:
        yield "min", "is above max: no value would pass; swap or correct them"
    if column.max_length is not None and kind.scalar == "varchar" and kind.args and column.max_length > kind.args[0]:
        yield "max_length", f"is more than {kind.name} holds; lower it, or remove it"
    if column.default is not None and "enum" in fitting and not kind.is_array:
        default = _read(column.default, kind, False)
        if default is not None and default not in fitting["enum"]:
            yield "default", "is not one of enum; a record without the field would be refused"


def _read(value: Any, kind: ColumnType, bounding: bool) -> Any:
    """The value as something to compare, or None when the type cannot hold it."""
    try:
        return _read_number(value, kind, bounding) if kind.scalar in _NUMBERS else _read_text(value, kind)
    except (ValueError, InvalidOperation, OverflowError):
        return None


def _read_number(value: Any, kind: ColumnType, bounding: bool) -> Any:
    if kind.scalar == "epoch" and isinstance(value, str):
        return _time(datetime.fromisoformat(value)).timestamp()
    if isinstance(value, bool) or (isinstance(value, str) and kind.scalar != "numeric"):
        return None
    if kind.scalar in _INTEGERS:
        half = 1 << (_INTEGERS[kind.scalar] - 1)
        return value if isinstance(value, int) and -half <= value < half else None
    if kind.scalar != "numeric":
        return float(value) if math.isfinite(float(value)) else None
    number, (precision, scale) = Decimal(str(value)), kind.args
    exact = bounding and not isinstance(value, str)
    fits = number.is_finite() and abs(number) < Decimal(10) ** (precision - scale)
    return number if fits and (exact or number == round(number, scale)) else None


def _read_text(value: Any, kind: ColumnType) -> Any:
    if not isinstance(value, str) or "\0" in value or not _is_unicode(value):
        return None
    if kind.scalar == "uuid":
        return UUID(value)
    if kind.scalar == "varchar" and kind.args and len(value) > kind.args[0]:
        return None
    parsers: dict[str, Callable[[str], Any]] = {
        "date": date.fromisoformat,
        "time": time.fromisoformat,
        "timestamp": lambda text: _time(datetime.fromisoformat(text)),
        "timestamptz": lambda text: _time(datetime.fromisoformat(text)),
    }
    return parsers[kind.scalar](value) if kind.scalar in parsers else value


def _time(read: datetime) -> datetime:
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _wanted(kind: ColumnType) -> str:
    if kind.scalar in _TIMES:
        return 'write ISO-8601 text, such as "2026-01-31", "08:30:00" or "2026-01-31T08:30:00Z"'
    return "write a value of that type"


def _shown(value: Any) -> str:
    written = json.dumps(value, ensure_ascii=True)
    return written if len(written) <= 80 else written[:77] + "..."


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _said(error: str) -> str:
    """Arrow's message without its preamble; it may hold the pattern's line breaks."""
    return " ".join(error.removeprefix("Invalid regular expression: ").split())


def _compiled_here(patterns: list[str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {}
    for pattern in patterns:
        try:
            pc.match_substring_regex(pa.array([""]), pattern)
        except pa.ArrowInvalid as error:
            found[pattern] = str(error)
    return found


def _compiled_apart(patterns: list[str]) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        input=json.dumps(patterns),
        capture_output=True,
        text=True,
        check=True,
        timeout=_COMPILE_SECS,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
