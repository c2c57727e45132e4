"""What the columns of dead_letters hold of a record, in every store alike. Knows no database."""

from base64 import b64decode, b64encode
from typing import Any

import orjson

from ingestd.batch import Headers

YEARS_1_TO_9999_MS = range(-62_135_596_800_000, 253_402_300_800_000)
"""Times of records that are dates. A producer may send any number; what is no date must not halt the partition."""


def storable(text: str) -> str:
    """The text as PostgreSQL takes it: no NUL, no lone surrogate."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def headers_json(headers: Headers) -> str | None:
    """[{"name": .., "base64": ..}, ..]: a list, because Kafka allows a name twice; bytes survive as they were."""
    if not headers:
        return None
    pairs = [
        {"name": storable(name), "base64": None if value is None else b64encode(value).decode()}
        for name, value in headers
    ]
    return orjson.dumps(pairs).decode()


def headers_of(pairs: list[dict[str, Any]] | None) -> Headers:
    """The headers that `headers_json` wrote, out of its parsed JSON."""
    if pairs is None:
        return None
    return [(pair["name"], None if (text := pair["base64"]) is None else b64decode(text)) for pair in pairs]
