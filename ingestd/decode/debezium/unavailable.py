"""Values that an update does not bring because they are TOASTed and did not change. Knows no envelopes."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Raw

from ingestd.decode.parts import REFUSALS


class Unavailable:
    """Finds the placeholder that Debezium writes for them, in each of its forms.

    By the column's type: the text itself; its base64; a list with either; its bytes as numbers, for arrays of integers
    and dates; a map of it to itself, and the text of that, for hstore.
    """

    def __init__(self, placeholder: str):
        encoded = base64.b64encode(placeholder.encode()).decode()
        numbers = list(placeholder.encode())
        pair = {placeholder: placeholder}
        self._forms: list[Any] = [placeholder, encoded, [placeholder], [encoded], numbers, pair]
        self._forms.append(msgspec.json.encode(pair).decode())
        self._needles = (
            msgspec.json.encode(placeholder)[1:-1],
            encoded.encode(),
            ",".join(map(str, numbers)).encode(),
        )

    def suspects(self, documents: list[bytes]) -> list[int]:
        """The documents in which the placeholder may stand; the others are free of it."""
        one, two, three = self._needles
        return [row for row, text in enumerate(documents) if one in text or two in text or three in text]

    def without(self, document: bytes) -> tuple[bytes, Collection[str]]:
        """`document` without the fields that the event does not bring, and their names.

        A text that only contains the placeholder is a value. What is no object stays as it is.
        """
        try:
            fields = msgspec.json.decode(document, type=dict[str, Raw])
            absent = [name for name, value in fields.items() if self._is(value)]
        except REFUSALS:
            return document, ()
        if not absent:
            return document, ()
        return msgspec.json.encode({name: fields[name] for name in fields.keys() - set(absent)}), absent

    def _is(self, value: Raw) -> bool:
        text = bytes(value)
        return any(needle in text for needle in self._needles) and msgspec.json.decode(value) in self._forms
