"""Dead letters on a terminal or as text for programs. Knows no database.

A payload is a stranger's: control characters, escape sequences and directions of writing never reach the terminal as
they are.
"""

import csv
import io
import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ingestd.stores.dead_letters import Letter

_DUMP_BYTES = 64 * 1024
_PREVIEW_CHARS = 60
_MAX_CELL_CHARS = 80


def printable(text: str, keep: str = "") -> str:
    """`text` with everything that is not plainly visible as an escape, but the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c in keep or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns side by side, cut where they are long."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names] + [[_cell(row[name]) for name in names] for row in rows]
    numeric = [all(isinstance(row[name], int | None) for row in rows) for name in names]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    lines = []
    for line in cells:
        padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def as_json(rows: Iterable[Mapping[str, Any]]) -> str:
    """One object a line, in ASCII."""
    return "\n".join(json.dumps({k: _plain(v) for k, v in row.items()}) for row in rows)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """With a line of names."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: printable(str(_plain(v))) if v is not None else "" for k, v in row.items()} for row in rows
        )
    return out.getvalue().rstrip("\n")


def line_of(letter: Letter) -> dict[str, Any]:
    """A letter in a list: the beginning of its payload only."""
    return {
        "id": letter.id,
        "place": f"{letter.topic}-{letter.partition}@{letter.offset}",
        "at": letter.dead_at,
        "stage": letter.stage,
        "column": letter.column,
        "sqlstate": letter.sqlstate,
        "reason": letter.reason,
        "payload": preview(letter.payload),
    }


def whole(letter: Letter) -> dict[str, Any]:
    """A letter for a program: bytes as text where they are UTF-8, else as base64 under another name."""
    found: dict[str, Any] = {
        "id": letter.id,
        "topic": letter.topic,
        "topic_id": letter.topic_id,
        "partition": letter.partition,
        "offset": letter.offset,
        "record_time_ms": letter.record_time_ms,
        "stage": letter.stage,
        "column": letter.column,
        "sqlstate": letter.sqlstate,
        "reason": letter.reason,
        "dead_at": letter.dead_at,
        "headers": [{"name": name, **_bytes("value", value)} for name, value in letter.headers or ()],
    }
    return found | _bytes("key", letter.key) | _bytes("payload", letter.payload)


def page_of(letter: Letter) -> str:
    """A letter for a person, whole."""
    lines = [
        f"id         {letter.id}",
        f"record     {printable(letter.topic)}-{letter.partition} offset {letter.offset}"
        + (f" (topic id {printable(letter.topic_id)})" if letter.topic_id else ""),
        f"time       {_time_of(letter.record_time_ms)}",
        f"refused    {letter.dead_at.isoformat(timespec='seconds')} at {printable(letter.stage)}",
        f"column     {_cell(letter.column)}",
        f"sqlstate   {_cell(letter.sqlstate)}",
        f"reason     {printable(letter.reason)}",
        f"key        {'none' if letter.key is None else _inline(letter.key)}",
    ]
    for name, value in letter.headers or ():
        lines.append(f"header     {printable(name)} = {'none' if value is None else _inline(value)}")
    size = "none (a tombstone)" if letter.payload is None else f"{len(letter.payload):,} bytes"
    return "\n".join([*lines, f"payload    {size}", *_pretty(letter.payload)])


def preview(payload: bytes | None) -> str | None:
    """The beginning of a payload in one line."""
    if payload is None:
        return None
    text = payload[: 4 * _PREVIEW_CHARS].decode("utf-8", "backslashreplace")
    return _cut(printable(text), _PREVIEW_CHARS)


def _pretty(payload: bytes | None) -> list[str]:
    if not payload:
        return []
    try:
        text = msgspec.json.format(payload, indent=2).decode()
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _text_or_dump(payload)
    return printable(text, keep="\n").splitlines()


def _text_or_dump(payload: bytes) -> list[str]:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    odd = sum(not c.isprintable() and c not in "\n\t\r" for c in text)
    if odd * 10 <= len(text):
        return printable(text, keep="\n\t").splitlines()
    lines = []
    for start in range(0, min(len(payload), _DUMP_BYTES), 16):
        row = payload[start : start + 16]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  {shown}")
    return [*lines, f"... {len(payload) - _DUMP_BYTES:,} bytes more"] if len(payload) > _DUMP_BYTES else lines


def _inline(value: bytes) -> str:
    return printable(value.decode("utf-8", "backslashreplace"))


def _bytes(name: str, value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {name: None}
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(value).decode()}


def _time_of(ms: int | None) -> str:
    if ms is None:
        return "none"
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    return _cut(printable(str(value)), _MAX_CELL_CHARS)


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 3] + "..."


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
