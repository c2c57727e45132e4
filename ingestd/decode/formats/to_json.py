"""Values that a format's library read, as JSON text, without losing any. Knows no format and no schema.

Decimals are numbers with all their digits, bytes base64, times ISO-8601, uuids text. NaN and the infinities, which
JSON has no numbers for and the encoder would write as null, are the words that columns of floats read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

_plainly: Callable[[Any], bytes] = msgspec.json.Encoder(decimal_format="number").encode


def json_of(value: Any) -> bytes:
    """`value` as JSON. Raises TypeError, ValueError or RecursionError for what JSON cannot hold."""
    text = _plainly(value)
    # A float that is no number became null; looking for that word costs 30 ns, looking at every value 2 us.
    return _plainly(_with_words(value)) if b"null" in text else text


def _with_words(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if type(value) is dict:
        return {key: _with_words(inner) for key, inner in value.items()}
    if type(value) is list or type(value) is tuple:
        return [_with_words(inner) for inner in value]
    return value
