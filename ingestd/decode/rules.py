"""The rules of a contract on values of the right type: enum, pattern, min, max, max_length, format. Knows no records.

Judged on whole Arrow columns. A column without a rule costs nothing. Patterns run in RE2: their time is linear in the
text, whatever the pattern. Reasons name the rule, never the value: the payload is stored beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ingestd.config.options import Column
from ingestd.decode.columns import Builder, Built, rows_where, uuids, without
from ingestd.decode.text_formats import TEXT_FORMATS
from ingestd.decode.times import dates, times, timestamps
from ingestd.errors import ConfigError
from ingestd.schema.types import ColumnType, parse_type

Rule = Callable[[pa.Array], dict[int, str]]
"""A column's array, or one of its element's -> the rows that break a rule, and which; null breaks none."""

_Judge = Callable[[pa.Array], pa.BooleanArray]
"""Values -> true where the rule is kept; null counts as kept."""

_TEXTS = {"text", "varchar"}
_INTEGERS = {"int2", "int4", "int8"}
_FLOATS = {"float4", "float8"}
_PARSED: dict[str, Builder] = {"uuid": uuids, "date": dates, "time": times}


def rule_of(column: Column) -> Rule | None:
    """What judges the column's array, or None when the column has no rule.

    Raises ConfigError for a rule that the column's type cannot have.
    """
    judges = _judges(column, parse_type(column.type))
    if not judges:
        return None
    is_array = parse_type(column.type).is_array

    def judge(array: pa.Array) -> dict[int, str]:
        if not is_array:
            return _broken(array, judges)
        elements = _broken(pc.list_flatten(array), judges)
        if not elements:
            return {}
        owners = pc.list_parent_indices(array).to_pylist()
        found: dict[int, str] = {}
        for position, reason in elements.items():
            found.setdefault(owners[position], f"element: {reason}")
        return found

    return judge


def ruled(builder: Builder, column: Column) -> Builder:
    """`builder` followed by the column's rules; `builder` itself when there are none."""
    rule = rule_of(column)
    if rule is None:
        return builder

    def build(values: list[Any]) -> Built:
        built = builder(values)
        broken = rule(built.array)
        # A value that was refused already is null here, or its row is dropped for the first reason.
        return without(built.array, broken | built.faults) if broken else built

    return build


def _broken(array: pa.Array, judges: list[tuple[_Judge, str]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for kept, reason in judges:
        good = kept(array)
        if not pc.all(good, min_count=0).as_py():
            for row in rows_where(pc.invert(good)):
                found.setdefault(row, reason)
    return found


def _judges(column: Column, kind: ColumnType) -> list[tuple[_Judge, str]]:
    found: list[tuple[_Judge, str]] = []
    if column.enum:
        found.append((_in(_values(column, kind, list(column.enum))), "not one of the allowed values"))
    if column.min is not None:
        found.append((_at_least(_bound(column, kind, column.min, ROUND_CEILING)), f"below the minimum {column.min}"))
    if column.max is not None:
        found.append((_at_most(_bound(column, kind, column.max, ROUND_FLOOR)), f"above the maximum {column.max}"))
    if column.max_length is not None:
        found.append((_no_longer(column.max_length), f"longer than {column.max_length} characters"))
    if column.pattern is not None:
        found.append((_matching(column, column.pattern), "does not match the pattern"))
    if column.format is not None:
        form = TEXT_FORMATS[column.format]
        if form.max_length is not None:
            found.append((_no_longer(form.max_length), f"not {form.noun}"))
        found += [(_matching(column, pattern), f"not {form.noun}") for pattern in form.patterns]
    return found


def _in(allowed: pa.Array) -> _Judge:
    return lambda array: pc.or_(pc.is_in(array, value_set=allowed), pc.is_null(array))


def _at_least(bound: pa.Scalar) -> _Judge:
    # NaN is not at least anything: the comparison is false for it.
    return lambda array: pc.greater_equal(array, bound)


def _at_most(bound: pa.Scalar) -> _Judge:
    return lambda array: pc.less_equal(array, bound)


def _no_longer(characters: int) -> _Judge:
    return lambda array: pc.less_equal(pc.utf8_length(array), characters)


def _matching(column: Column, pattern: str) -> _Judge:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ConfigError([f"column {column.name!r}: pattern: {error}"]) from None
    return lambda array: pc.match_substring_regex(array, pattern)


def _bound(column: Column, kind: ColumnType, given: int | float | str, rounding: str) -> pa.Scalar:
    if kind.scalar == "numeric" and not isinstance(given, str):
        # 0.005 as the minimum of numeric(10,2) lets pass what 0.01 does.
        step = Decimal(1).scaleb(-kind.args[1])
        given = str(Decimal(str(given)).quantize(step, context=Context(prec=400, rounding=rounding)))
    return _values(column, kind, [given])[0]


def _values(column: Column, kind: ColumnType, given: list[Any]) -> pa.Array:
    """The declared values as the column holds them. Raises ConfigError when one is not of the column's type."""
    try:
        array = _typed(kind, given)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ArithmeticError, ValueError, OverflowError):
        array = None
    if array is None or array.null_count:
        raise ConfigError([f"column {column.name!r}: enum, min or max is not a {kind.name}"])
    return array.cast(kind.arrow_type().value_type) if kind.is_array else array


def _typed(kind: ColumnType, given: list[Any]) -> pa.Array:
    arrow = kind.scalar_arrow_type()
    if kind.scalar in _PARSED:
        return _PARSED[kind.scalar](given).array
    if kind.scalar in ("timestamptz", "timestamp"):
        # A bound without an offset is UTC, also where records must say theirs.
        return timestamps(ColumnType(kind.scalar), True, None)(given).array
    if kind.scalar == "epoch":
        return pa.array([_epoch_secs(value) for value in given], pa.float64())
    if kind.scalar == "numeric":
        return pa.array([Decimal(str(value)) for value in given], arrow)
    if kind.scalar in _FLOATS:
        return pa.array([float(value) for value in given], arrow)
    if kind.scalar in _TEXTS | _INTEGERS:
        return pa.array(given, arrow)
    raise ValueError(kind.scalar)


def _epoch_secs(value: int | float | str) -> float | None:
    if not isinstance(value, str):
        return float(value)
    micros = timestamps(ColumnType("timestamptz"), True, None)([value]).array.cast(pa.int64())[0].as_py()
    return None if micros is None else micros / 1_000_000
