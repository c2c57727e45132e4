"""What the policies strip, replace and null make of values that cannot be stored. Knows no batches and no servers.

Only refused records and values come here, so that a good one costs nothing. A broken rule of the contract is never
mended: the value could be stored, it is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw, Struct

from ingestd.config.options import Column
from ingestd.decode.columns import Builder, Built, as_mask, kept
from ingestd.schema.types import ColumnType, parse_type

Policy = Literal["dead_letter", "strip", "replace", "null"]
Explain = Callable[[Exception, bytes | None], tuple[str | None, str]]


class Mended(Struct, frozen=True):
    """What the policies made of a record's value."""

    document: bytes
    instance: Any
    """`document` as the reader of the columns reads it."""


Mend = Callable[[bytes | None], Mended | None]
"""A value that could not be read -> what its policies make of it, or None when they cannot help."""

_BAD = re.compile("[\0\ud800-\udfff]")
_REPLACEMENT = "\ufffd"
_TEXTS = {"text", "varchar"}
_REFUSALS = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError, ValueError, OverflowError)


class _NotNumber(Struct, frozen=True):
    """NaN or Infinity written as a bare word, which is no JSON."""


class _Unmendable(Exception):
    """The policy of a place is to refuse what is there."""


class _Place(Struct, frozen=True):
    """Where a column reads (`column` is set), or an object with such places in it."""

    column: Column | None = None
    policy: Policy = "dead_letter"
    inner: dict[str, _Place] = {}


def policy_of(column: Column, pipeline_policy: Policy) -> Policy:
    """What becomes of a value that the column cannot hold."""
    return column.on_bad or pipeline_policy


def mended(builder: Builder, column: Column, policy: Policy) -> Builder:
    """`builder` with the policy applied to what it refuses; for an array column, the builder of its elements."""
    kind = parse_type(column.type)
    clean = _cleaner(kind, policy)
    if clean is None:
        return builder

    def build(values: list[Any]) -> Built:
        built = builder(values)
        if not built.faults:
            return built
        rows = sorted(built.faults)
        again = builder([clean(values[row]) for row in rows])
        mask = pc.invert(as_mask(kept(len(values), rows)))
        array = pc.replace_with_mask(built.array, mask, again.array)
        return Built(array, {rows[position]: reason for position, reason in again.faults.items()})

    return build


def nulled(builder: Builder, column: Column, policy: Policy) -> Builder:
    """`builder` writing null for what it refuses, when that is the policy and the column may be null."""
    if policy != "null" or column.required:
        return builder

    def build(values: list[Any]) -> Built:
        built = builder(values)
        if not built.faults:
            return built
        mask = as_mask(kept(len(values), built.faults))
        return Built(pc.if_else(mask, built.array, pa.scalar(None, built.array.type)), {})

    return build


def mender_of(columns: Sequence[Column], policy: Policy, read: Callable[[bytes], Any], explain: Explain) -> Mend | None:
    """What to try with records that `read` refuses; None when every policy is to refuse.

    The record is taken apart by a lenient reader, bad characters and bad values are treated by the policies of the
    columns that read them, and `read` judges the result: it has the last word.
    """
    by_name = {column.name: column for column in columns}
    if all(policy_of(column, policy) == "dead_letter" for column in columns):
        return None
    root = _places(columns, policy)

    def mend(value: bytes | None) -> Mended | None:
        try:
            tree = _loads(value) if value else None
            if not isinstance(tree, dict):
                return None
            tree = _object(tree, root)
        except (_Unmendable, RecursionError, ValueError):
            return None
        for _ in range(len(by_name) + 1):
            document = b""
            try:
                document = msgspec.json.encode(tree)
                return Mended(document, read(document))
            except _REFUSALS as error:
                column = by_name.get(explain(error, document)[0] or "")
                if column is None or not _may_be_null(column, policy) or not _set_null(tree, column):
                    return None
        return None

    return mend


def _may_be_null(column: Column, policy: Policy) -> bool:
    return policy_of(column, policy) == "null" and not column.required


def _set_null(tree: dict[str, Any], column: Column) -> bool:
    """Whether there was a value to replace by null: what is missing, or null already, is not mended again."""
    *outer, last = (column.path or column.name).split(".")
    for key in outer:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            return False
        tree = inner
    if tree.get(last) is None:
        return False
    tree[last] = None
    return True


def _places(columns: Sequence[Column], policy: Policy) -> _Place:
    root = _Place(None, policy, {})
    for column in columns:
        if column.source != "value":
            continue
        *outer, last = (column.path or column.name).split(".")
        place = root
        for key in outer:
            place = place.inner.setdefault(key, _Place(None, policy, {}))
        place.inner[last] = _Place(column, policy_of(column, policy))
    return root


def _object(tree: dict[str, Any], place: _Place) -> dict[str, Any]:
    """The object with each value treated by the policy of the column that reads it, or of the pipeline."""
    treated: dict[str, Any] = {}
    for key, value in tree.items():
        inner = place.inner.get(key)
        # Never stripped here: "id" with something removed must not become the field "id".
        name = _BAD.sub(_REPLACEMENT, key)
        if inner is None:
            treated[name] = _unread(value, place.policy)
        elif inner.column is None and isinstance(value, dict):
            treated[name] = _object(value, inner)
        else:
            treated[name] = _value(value, inner.policy)
    return treated


def _unread(value: Any, policy: Policy) -> Any:
    """A field that no column reads cannot spoil the record."""
    try:
        return _value(value, "replace" if policy == "dead_letter" else policy)
    except _Unmendable:
        return None


def _value(value: Any, policy: Policy) -> Any:
    """The value with its bad characters treated; null for all of it under that policy. Raises _Unmendable."""
    if policy == "null":
        try:
            return _cleaned(value, None)
        except _Unmendable:
            return None
    return _cleaned(value, {"strip": "", "replace": _REPLACEMENT}.get(policy))


def _cleaned(value: Any, instead: str | None) -> Any:
    """The value with `instead` for each bad character. Raises _Unmendable when there is nothing to put."""
    if isinstance(value, str):
        if not _BAD.search(value):
            return value
        if instead is None:
            raise _Unmendable
        return _BAD.sub(instead, value)
    if isinstance(value, list):
        return [_cleaned(one, instead) for one in value]
    if isinstance(value, dict):
        return _cleaned_keys(value, instead)
    if isinstance(value, _NotNumber):
        raise _Unmendable
    return value


def _cleaned_keys(value: dict[str, Any], instead: str | None) -> dict[str, Any]:
    treated: dict[str, Any] = {}
    for key, inner in value.items():
        name: str = _cleaned(key, instead)
        if name != key and (name in value or name in treated):
            name = _BAD.sub(_REPLACEMENT, key)  # Removing must not make one key hide another.
        treated[name] = _cleaned(inner, instead)
    return treated


def _cleaner(kind: ColumnType, policy: Policy) -> Callable[[Any], Any] | None:
    """What turns one refused value of this type into another to try, under strip and replace."""
    instead = {"strip": "", "replace": _REPLACEMENT}.get(policy)
    if instead is None:
        return None
    if kind.scalar in _TEXTS:
        return lambda value: _BAD.sub(instead, value)
    if kind.scalar != "jsonb":
        return None

    def clean(value: Raw) -> Raw:
        try:
            return Raw(msgspec.json.encode(_cleaned(_loads(bytes(value)), instead)))
        except (_Unmendable, *_REFUSALS):
            return value

    return clean


def _loads(document: bytes) -> Any:
    """JSON with its numbers as they are written; each byte that is not UTF-8 becomes a lone surrogate."""
    text = document.decode("utf-8", "surrogateescape")
    return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=lambda _: _NotNumber())


def _number(text: str) -> Raw:
    return Raw(text.encode())
