"""Fields of a record that no column reads: kept as JSON, or told as new. Knows no records and no batches.

Their values are never taken apart: the text of a number, of however many digits, stays as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from ingestd.config.options import Column
from ingestd.decode.shape import NULL

BAD_NAME = "a field that no column reads has a name that is not UTF-8"
MAX_NAME_BYTES = 63
_RESERVED = "ingestd"
_FIRST_VALUES = 1_000
_INT8 = range(-(1 << 63), 1 << 63)
_EXACT_IN_A_DOUBLE = 1 << 53
_OBJECT = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT = msgspec.json.Encoder().encode
_FAILURES = (msgspec.MsgspecError, RecursionError, UnicodeError)


class Known(Struct, frozen=True):
    """An object of which some fields are read: None for those that are read as a whole."""

    fields: dict[str, Known | None]


def known_fields(columns: Iterable[Column], more: Iterable[str] = ()) -> Known:
    """What is read of a record's value: the paths of `columns`, and `more`."""
    root = Known({})
    paths = [column.path or column.name for column in columns]
    for path in [*paths, *more]:
        *outer, last = path.split(".")
        place: Known | None = root
        for key in outer:
            place = place.fields.setdefault(key, Known({})) if place is not None else None
        if place is not None:
            place.fields.setdefault(last, None)
    return root


def keeper_of(known: Known) -> Callable[[Sequence[bytes]], tuple[list[Raw], dict[int, str]]]:
    """A function from documents that could be read to one JSON object each of what is not `known`; null for nothing."""

    def keep(documents: Sequence[bytes]) -> tuple[list[Raw], dict[int, str]]:
        kept: list[Raw] = []
        faults: dict[int, str] = {}
        for row, document in enumerate(documents):
            try:
                rest = _rest(document, known)
            except _FAILURES:
                rest, faults[row] = None, BAD_NAME
            kept.append(NULL if rest is None else Raw(rest))
        return kept, faults

    return keep


def _rest(document: bytes | Raw, known: Known) -> bytes | None:
    fields = _OBJECT(document)
    read = known.fields
    found: dict[str, bytes | Raw] = {key: raw for key, raw in fields.items() if key not in read}
    for key, inner in read.items():
        raw = fields.get(key) if inner is not None else None
        if inner is not None and raw is not None and bytes(raw).startswith(b"{"):
            below = _rest(raw, inner)
            if below is not None:
                found[key] = below
    if not found:
        return None
    return b"{" + b",".join([_TEXT(key) + b":" + bytes(raw) for key, raw in found.items()]) + b"}"


def newcomers_of(known: Known, ignored: Collection[str]) -> Callable[[Sequence[bytes]], dict[str, str]]:
    """A function from documents to the top-level fields that are not `known` or `ignored`, each with the contract
    type of its first values, or "" when it cannot be a column. A field that only holds null is not there yet.
    """

    def find(documents: Sequence[bytes]) -> dict[str, str]:
        values: dict[str, list[bytes]] = {}
        for document in documents:
            for key, raw in _new_fields(document, known, ignored):
                seen = values.setdefault(key, [])
                if len(seen) < _FIRST_VALUES and (text := bytes(raw)) != b"null":
                    seen.append(text)
        return {key: type_of(texts) if fits_column(key) else "" for key, texts in values.items() if texts}

    return find


def _new_fields(document: bytes, known: Known, ignored: Collection[str]) -> Iterator[tuple[str, Raw]]:
    try:
        fields = _OBJECT(document)
    except _FAILURES:
        return
    for key in fields.keys() - known.fields.keys():
        if key not in ignored:
            yield key, fields[key]


def fits_column(name: str) -> bool:
    """Whether a field of this name can become a column, and be found again under it as a path."""
    return (
        0 < len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
        and name.isprintable()
        and not any(mark in name for mark in '"\\.')
        and not name.lower().startswith(_RESERVED)
    )


def type_of(texts: Sequence[bytes]) -> str:
    """The contract type that takes all these JSON values exactly: bool, int8, float8, text, else jsonb."""
    kinds = {_kind(text) for text in texts}
    if kinds == {"int8", "float8"}:
        return "float8" if all(abs(msgspec.json.decode(text)) <= _EXACT_IN_A_DOUBLE for text in texts) else "jsonb"
    return kinds.pop() if len(kinds) == 1 else "jsonb"


def _kind(text: bytes) -> str:
    try:
        value: Any = msgspec.json.decode(text)
    except (*_FAILURES, ValueError):
        return "jsonb"
    match value:
        case bool():
            return "bool"
        case int():
            return "int8" if value in _INT8 else "jsonb"
        case float():
            return "float8"
        case str():
            return "text"
        case _:
            return "jsonb"
