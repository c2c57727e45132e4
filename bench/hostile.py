"""Records that must not become rows: which, how many of each kind, and where. Knows nothing of Kafka.

Kinds of "decode" are refused before PostgreSQL sees them; "check" decodes well and is refused by CHECK (amount > 0).
"""

import random
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, Protocol

import orjson

Message = tuple[bytes, bytes]


class Messages(Protocol):
    """An endless supply of messages."""

    def take(self, count: int) -> list[Message]:
        """The next `count` messages as (key, value)."""
        ...


class Fields(NamedTuple):
    """Which fields of a profile are spoiled: one number with two decimals and one text, both required."""

    number: str
    text: str


def _replaced(value: bytes, field: str, raw: bytes) -> bytes:
    """The record with the field's value replaced by these bytes, valid JSON or not."""
    record = orjson.loads(value)
    record[field] = orjson.Fragment(raw)
    return orjson.dumps(record)


def _without(value: bytes, field: str) -> bytes:
    record = orjson.loads(value)
    del record[field]
    return orjson.dumps(record)


Spoil = Callable[[bytes, Fields], bytes]

DECODE_KINDS: dict[str, Spoil] = {
    "not_json": lambda value, fields: value[: len(value) // 2],
    "missing_required": lambda value, fields: _without(value, fields.number),
    "wrong_type": lambda value, fields: _replaced(value, fields.number, b'"twelve"'),
    "too_many_digits": lambda value, fields: _replaced(value, fields.number, b"123.456"),
    "nul_text": lambda value, fields: _replaced(value, fields.text, rb'"a\u0000b"'),
    "huge_number": lambda value, fields: _replaced(value, fields.number, b"1e400"),
    "wrong_top_level": lambda value, fields: b"[" + value + b"]",
    "invalid_utf8": lambda value, fields: _replaced(value, fields.text, b'"a\xff\xfeb"'),
}
CHECK_KINDS: dict[str, Spoil] = {
    "check": lambda value, fields: _replaced(value, fields.number, b"-12.34"),
}
ALL_KINDS = DECODE_KINDS | CHECK_KINDS


def kinds_named(name: str) -> tuple[str, ...]:
    """Kinds for an option's value: "decode", "check", "all" or one kind.

    Raises: ValueError for an unknown name.
    """
    groups = {"decode": tuple(DECODE_KINDS), "check": tuple(CHECK_KINDS), "all": tuple(ALL_KINDS)}
    if name in groups:
        return groups[name]
    if name in ALL_KINDS:
        return (name,)
    raise ValueError(f"no kind {name!r}; there are {', '.join((*groups, *ALL_KINDS))}")


class Hostile:
    """Messages with a share of bad ones: one at a random place in every run of 1/share messages, kinds in turn.

    So N messages hold share x N bad ones exactly when that is whole, and `counts` says how many of each kind
    were handed out so far.
    """

    def __init__(self, good: Messages, fields: Fields, share: float, kinds: tuple[str, ...], seed: int | None = None):
        self._good = good
        self._fields = fields
        self._run = 1 / share
        self._kinds = kinds
        self._rng = random.Random(seed)
        self._made = 0
        self._spoiled = 0
        self._next = int(self._rng.random() * self._run)
        self.counts: Counter[str] = Counter(dict.fromkeys(kinds, 0))

    def take(self, count: int) -> list[Message]:
        """The next `count` messages, bad ones among them."""
        messages = self._good.take(count)
        while self._next < self._made + count:
            at = self._next - self._made
            kind = self._kinds[self._spoiled % len(self._kinds)]
            key, value = messages[at]
            messages[at] = (key, ALL_KINDS[kind](value, self._fields))
            self.counts[kind] += 1
            self._spoiled += 1
            place = (self._spoiled + self._rng.random()) * self._run
            # Rounding must neither spoil one message twice nor leave its run of 1/share.
            self._next = max(self._next + 1, int(place))
        self._made += count
        return messages
