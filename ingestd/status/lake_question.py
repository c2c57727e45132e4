"""What a request for rows of a lake asks: read from the URL, turned into one statement with bound values.

No text of a request becomes SQL: columns are found in the lake's own list, values are parameters.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ingestd.errors import StartupError

FORMATS = ("json", "csv", "arrow")
DEFAULT_ROWS = 1_000
_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ALL_OPERATORS = (*_OPERATORS, "in", "prefix", "null")
_MOST_VALUES = 1_000
_MOST_FILTERS = 32


class BadQuestion(StartupError):
    """The request cannot be answered as it is; the message says what would be right."""


class Filter(Struct, frozen=True):
    """One condition."""

    column: str
    operator: str
    value: str


class Question(Struct, frozen=True, kw_only=True):
    """A request for rows, as it was written."""

    pipeline: str
    columns: tuple[str, ...] = ()
    """Empty: all."""
    where: tuple[Filter, ...] = ()
    order: tuple[str, ...] = ()
    """Columns; with "-" before the name the largest first."""
    limit: int = DEFAULT_ROWS
    format: str = "json"


def read_question(pipeline: str, parameters: Iterable[tuple[str, str]], max_rows: int) -> Question:
    """The question in the URL's parameters. Raises: BadQuestion."""
    columns: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    where: list[Filter] = []
    limit, form = min(DEFAULT_ROWS, max_rows), "json"
    for name, text in parameters:
        match name:
            case "columns":
                columns += _list(text)
            case "order":
                order += _list(text)
            case "where":
                where.append(_filter(text))
            case "limit":
                limit = _limit(text, max_rows)
            case "format":
                form = text
            case _:
                raise BadQuestion(f"{name}: unknown; there are columns, where, order, limit, format")
    if form not in FORMATS:
        raise BadQuestion(f"format: one of {', '.join(FORMATS)}")
    if len(where) > _MOST_FILTERS:
        raise BadQuestion(f"where: at most {_MOST_FILTERS} conditions")
    return Question(pipeline=pipeline, columns=columns, where=tuple(where), order=order, limit=limit, format=form)


def _list(text: str) -> tuple[str, ...]:
    """Values with commas between them, as in a line of CSV: one with a comma, or a quote, in quotes."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error:
        raise BadQuestion(f'{text}: no list; write a,b or a,"b,c"') from None
    return tuple(rows[0]) if rows else ()


def _limit(text: str, max_rows: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= max_rows:
        raise BadQuestion(f"limit: a number from 1 to {max_rows} (status.lake_max_rows)")
    return int(text)


def _filter(text: str) -> Filter:
    column, equals, rest = text.partition("=")
    operator, colon, value = rest.partition(":")
    if not equals or not colon or operator not in _ALL_OPERATORS:
        raise BadQuestion(f"where={text}: write column=operator:value, operators are {', '.join(_ALL_OPERATORS)}")
    if operator == "null" and value not in ("true", "false"):
        raise BadQuestion(f"where={text}: write null:true or null:false")
    return Filter(column, operator, value)


def statement(question: Question, columns: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """One SELECT from the view "lake", and its values; `columns` are the view's, with their DuckDB types.

    Raises: BadQuestion for a column that is not there, or a condition that its type does not know.
    """
    types = dict(columns)
    chosen = question.columns or tuple(types)
    selected = ", ".join(_known(name, types) for name in chosen)
    values: list[str] = []
    conditions = [_condition(one, types, values) for one in question.where]
    text = f"SELECT {selected} FROM lake"
    if conditions:
        text += " WHERE " + " AND ".join(conditions)
    if question.order:
        text += " ORDER BY " + ", ".join(_ordered(one, types) for one in question.order)
    return text, values


def _condition(one: Filter, types: dict[str, str], values: list[str]) -> str:
    column, kind = _known(one.column, types), types[one.column]
    if one.operator == "null":
        return f"{column} IS {'' if one.value == 'true' else 'NOT '}NULL"
    if kind.endswith("]") or kind == "BLOB":
        raise BadQuestion(f"{one.column}: is {kind}, which only null:true and null:false can ask for")
    if one.operator == "prefix":
        if kind != "VARCHAR":
            raise BadQuestion(f"{one.column}: is {kind}; prefix is for texts")
        values.append(one.value)
        return f"starts_with({column}, ${len(values)})"
    if one.operator == "in":
        wanted = _list(one.value)
        if not 1 <= len(wanted) <= _MOST_VALUES:
            raise BadQuestion(f"{one.column}: in takes 1 to {_MOST_VALUES} values")
        return f"{column} IN ({', '.join(_bound(value, kind, values) for value in wanted)})"
    return f"{column} {_OPERATORS[one.operator]} {_bound(one.value, kind, values)}"


def _bound(value: str, kind: str, values: list[str]) -> str:
    """A parameter of the column's type, so that DuckDB can pass over files by their bounds."""
    values.append(value)
    return f"CAST(${len(values)} AS {kind})"


def _ordered(name: str, types: dict[str, str]) -> str:
    if name not in types and name.startswith("-"):
        return f"{_known(name[1:], types)} DESC NULLS LAST"
    return f"{_known(name, types)} NULLS LAST"


def _known(name: str, types: dict[str, str]) -> str:
    if name not in types:
        raise BadQuestion(f"{name}: no such column; there are {', '.join(types)}")
    return '"' + name.replace('"', '""') + '"'
