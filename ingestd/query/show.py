"""Rows as a table for people, as CSV or as JSON. Knows no database."""

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from ingestd.query.read import Answer, Row

Format = Callable[[Any], Any]


def as_utc(value: Any) -> Any:
    """A time, or seconds since 1970, as 2026-01-21 18:55:00Z; what is neither stays as it is."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(float(value), UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return value
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}Z"


FORMATS: dict[str, Format] = {"utc": as_utc}


def formatted(rows: Iterable[Row], formats: Sequence[str | None]) -> Iterable[Row]:
    """The rows with each column in its format; `formats` is as long as a row, or empty."""
    if not any(formats):
        return rows
    functions = [FORMATS[name] if name else None for name in formats]
    return ([f(v) if f and v is not None else v for f, v in zip(functions, row, strict=True)] for row in rows)


def show_table(answer: Answer, out: TextIO) -> None:
    """Aligned columns, headings first; all rows are held in memory.

    A value cannot move the cursor, change colours or fake a line: what is not printable is written as an escape.
    """
    rows = [[_cell(value) for value in row] for row in answer.rows]
    headings = [escaped(name) for name in answer.columns]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for line in (headings, ["-" * width for width in widths], *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=out)


def show_csv(answer: Answer, out: TextIO) -> None:
    """RFC 4180 with headings; null is an empty field."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow(["" if value is None else _text(value) for value in row])


def show_json(answer: Answer, out: TextIO) -> None:
    """An array of objects, one a line; exact numbers and times are texts."""
    out.write("[")
    for n, row in enumerate(answer.rows):
        text = orjson.dumps(dict(zip(answer.columns, map(_plain, row), strict=True)), default=_text)
        out.write((",\n" if n else "\n") + text.decode())
    out.write("\n]\n")


def escaped(text: str) -> str:
    """`text` on one line, with escapes for what is not printable."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _cell(value: Any) -> str:
    return "null" if value is None else escaped(_text(value))


def _plain(value: Any) -> Any:
    """What orjson refuses outright: lone surrogates, which SQLite may hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | memoryview):
        return f"\\x{bytes(value).hex()}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=_text).decode()
    return str(value)
