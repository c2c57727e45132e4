"""Columns from what a sample shows: name, type, required, and a key. Guesses are called so. Knows no TOML."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from ingestd.sampling.fields import Field, Fields

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")
_NAIVE_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?")
_TIME_NAME = re.compile(r"(^|_)(ts|time|timestamp|date|at|on|created|updated)$")
_KEY_NAME = re.compile(r"(^|_)(id|uuid|guid|key)$")
_EPOCHS = (("s", 10**9, 4 * 10**9), ("ms", 10**12, 4 * 10**12), ("us", 10**15, 4 * 10**15))
_INT8 = range(-(2**63), 2**63)
_MOST_DIGITS = 38
_MOST_SCALE = 6
_MOST_COLUMNS = 200
_LONGEST_NAME_BYTES = 63


class Guess(Struct, kw_only=True):
    """One column as it would be declared."""

    name: str
    path: str | None
    type: str
    required: bool
    epoch: str | None = None
    note: str = ""
    """What the sample showed, or why the type is a guess."""


class LeftOut(Struct, frozen=True):
    """A field that becomes no column, and why."""

    path: tuple[str, ...]
    why: str


class Contract(Struct):
    """What the sample suggests."""

    columns: list[Guess]
    key: str | None
    left_out: list[LeftOut]


def infer(sample: Fields) -> Contract:
    """Columns for every field that can be one, and the best candidate for a key."""
    contract = Contract([], None, [])
    taken: set[str] = set()
    candidates = []
    for found in sample.fields:
        if why := _unusable(found.path, len(contract.columns)):
            contract.left_out.append(LeftOut(found.path, why))
            continue
        guess = _column(found, sample.records, taken)
        contract.columns.append(guess)
        if guess.required and guess.type in ("uuid", "int8", "text") and len(set(found.values)) == len(found.values):
            candidates.append(guess)
    contract.key = _key(candidates)
    return contract


def demote(guess: Guess) -> bool:
    """Give a column the next wider type, because records of the sample did not fit; False when there is none."""
    if guess.type == "jsonb":
        return False
    from_text = guess.type in ("uuid", "date", "timestamp", "timestamptz") and guess.epoch is None
    guess.type = "text" if from_text else "jsonb"
    guess.epoch = None
    guess.note += "; other types did not fit the sample"
    return True


def _unusable(path: Sequence[str], columns: int) -> str:
    if columns >= _MOST_COLUMNS:
        return f"there are more than {_MOST_COLUMNS} fields"
    if any("." in part for part in path):
        return "a path cannot name a field with a dot in it"
    if any(not part or not part.isprintable() or '"' in part or "\\" in part for part in path):
        return "its name is empty, or has a quote, a backslash or what is not printable"
    return ""


def _column(found: Field, records: int, taken: set[str]) -> Guess:
    name = _name(found.path, taken)
    taken.add(name)
    written = ".".join(found.path)
    kind, epoch, why = _type(found, name)
    seen = f"in {found.seen} of {records}" + (f", {found.nulls} null" if found.nulls else "")
    return Guess(
        name=name,
        path=None if written == name else written,
        type=kind,
        epoch=epoch,
        required=found.seen == records and not found.nulls,
        note=f"{seen}; {why}" if why else seen,
    )


def _name(path: Sequence[str], taken: set[str]) -> str:
    """A plain lower-case name, which needs no quotes in SQL."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", "_".join(path)).lower()
    plain = re.sub(r"[^a-z0-9_]+", "_", snake).strip("_") or "field"
    plain = f"_{plain}" if plain[0].isdigit() else plain
    name, number = plain[:_LONGEST_NAME_BYTES], 1
    while name in taken:
        number += 1
        name = f"{plain[: _LONGEST_NAME_BYTES - 6]}_{number}"
    return name


def _type(found: Field, name: str) -> tuple[str, str | None, str]:
    """(type, epoch, why it is a guess)."""
    kinds = set(found.kinds)
    if not kinds:
        return "text", None, "only null: the type is a guess"
    if kinds == {"bool"}:
        return "bool", None, ""
    if kinds == {"text"}:
        return _text_type(found.values), None, ""
    if kinds <= {"int", "number"}:
        return _number_type(found.values, name)
    if kinds <= {"int", "number", "text"}:
        texts = [value for value in found.values if isinstance(value, str)]
        epoch = _epoch([value for value in found.values if not isinstance(value, str)], name)
        if epoch and all(map(_TIME.fullmatch, texts)):
            return "timestamptz", epoch, f"numbers look like epoch {epoch}: a guess"
    return "jsonb", None, "of several types" if len(kinds) > 1 else ""


def _text_type(values: Sequence[str]) -> str:
    for kind, form in (("uuid", _UUID), ("timestamptz", _TIME), ("timestamp", _NAIVE_TIME), ("date", _DATE)):
        if all(map(form.fullmatch, values)):
            return kind
    return "text"


def _number_type(values: Sequence[Any], name: str) -> tuple[str, str | None, str]:
    if epoch := _epoch(values, name):
        return "timestamptz", epoch, f"looks like epoch {epoch}: a guess"
    if all(isinstance(value, int) for value in values):
        if all(value in _INT8 for value in values):
            return "int8", None, ""
        if max(map(abs, values)) < 10**_MOST_DIGITS:
            return f"numeric({_MOST_DIGITS},0)", None, "beyond int8"
        return "jsonb", None, f"more than {_MOST_DIGITS} digits"
    exact = [Decimal(value) if isinstance(value, int | Decimal) else None for value in values]
    known = [value for value in exact if value is not None and value.is_finite()]
    if len(known) < len(values):
        return "float8", None, "has values that are no numbers"
    scale = max(max(0, -int(value.as_tuple().exponent)) for value in known)
    whole = max(max(0, value.adjusted() + 1) for value in known)
    if scale > _MOST_SCALE or whole > _MOST_DIGITS - scale or scale == 0:
        return "float8", None, ""
    return f"numeric({max(18, min(_MOST_DIGITS, whole + scale))},{scale})", None, f"{scale} decimals at most"


def _epoch(values: Sequence[Any], name: str) -> str | None:
    if not values or not _TIME_NAME.search(name):
        return None
    for unit, low, high in _EPOCHS:
        if all(isinstance(value, int | Decimal) and low <= value < high for value in values):
            return unit
    return None


def _key(candidates: Sequence[Guess]) -> str | None:
    """The best of the columns that are unique in the sample; only one whose name says so."""
    named = [guess for guess in candidates if _KEY_NAME.search(guess.name)]
    best = min(named, key=lambda g: (g.name != "id", "." in (g.path or ""), g.type != "uuid"), default=None)
    return best.name if best else None
