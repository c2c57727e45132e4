"""JSON -> decoder -> SQLite: the file holds the value in the form that is documented, whatever the value."""

import json
import math
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.config.options import Column
from ingestd.schema.sqlite import sqlite_type
from ingestd.schema.types import parse_type
from tests.decode.records import decoded
from tests.property.test_round_trip import DRAWN, EDGES, Pair


def stored(kind: str, texts: Sequence[str]) -> list[Any]:
    """Each value after the whole way, from a column of the type that ingestd declares."""
    columns = Column(name="n", type="int4", required=True), Column(name="x", type=kind)
    rows = decoded([b'{"n":%d,"x":%s}' % (n, text.encode()) for n, text in enumerate(texts)], *columns)
    assert rows.dead == []
    chosen = sqlite_type(parse_type(kind))
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (n INTEGER, x {chosen.declared}) STRICT")
    values = chosen.values(rows.columns.column("x"))
    connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(values))
    found = [row[0] for row in connection.execute("SELECT x FROM t ORDER BY n")]
    connection.close()
    return found


def _moment(text: str) -> str:
    at = datetime.fromisoformat(text.replace("Z", "+00:00") if "Z" in text else text)
    at = at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    return at.isoformat(timespec="microseconds")


def _numeric(scale: int) -> Callable[[str], str]:
    return lambda text: f"{Decimal(text):.{scale}f}" if Decimal(text) else f"{Decimal(0):.{scale}f}"


def _float(width: int) -> Callable[[str], float | None]:
    import numpy as np

    def read(text: str) -> float | None:
        number = float(np.float32(text)) if width == 32 else float(text)
        return None if math.isnan(number) else number

    return read


MEANT: dict[str, Callable[[str], Any]] = {
    "text": str,
    "varchar(3)": str,
    "int2": int,
    "int8": int,
    "float4": _float(32),
    "float8": _float(64),
    "numeric(10,2)": _numeric(2),
    "numeric(38,0)": _numeric(0),
    "numeric(38,20)": _numeric(20),
    "numeric(38,38)": _numeric(38),
    "bool": lambda text: int(text == "true"),
    "uuid": lambda text: str(UUID(text)),
    "timestamptz": lambda text: f"{_moment(text)}Z",
    "timestamp": _moment,
    "date": lambda text: date.fromisoformat(text).isoformat(),
    "time": lambda text: time.fromisoformat(text).isoformat(timespec="microseconds"),
    "bytea": lambda text: bytes.fromhex(text.removeprefix("\\x")),
}


def agree(kind: str, pairs: Sequence[Pair]) -> None:
    import decimal

    with decimal.localcontext(decimal.Context(prec=100)):
        expected = [None if literal is None else MEANT[kind](literal) for _, literal in pairs]
        found = stored(kind, [text for text, _ in pairs])
    assert [(type(one), one) for one in found] == [(type(one), one) for one in expected]


@pytest.mark.parametrize("kind", sorted(MEANT.keys() & EDGES.keys()))
def test_edge_values_are_stored_as_documented(kind: str) -> None:
    agree(kind, [pair for pair in EDGES[kind] if "numeric" not in kind or pair[1] is None or pair[1].strip("-0.e")])


@pytest.mark.parametrize("kind", sorted(MEANT.keys() & DRAWN.keys()))
@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_any_value_is_stored_as_documented(kind: str, drawn: st.DataObject) -> None:
    pair = DRAWN[kind] | st.just(("null", None))
    agree(kind, drawn.draw(st.lists(pair, min_size=1, max_size=20)))


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date", "time", "uuid"])
@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_texts_sort_as_their_values_do(kind: str, drawn: st.DataObject) -> None:
    pairs = drawn.draw(st.lists(DRAWN[kind], min_size=2, max_size=20))
    texts = stored(kind, [text for text, _ in pairs])
    read: Callable[[str], Any] = {"date": date.fromisoformat, "time": time.fromisoformat, "uuid": UUID}.get(
        kind, datetime.fromisoformat
    )
    assert sorted(texts) == [text for _, text in sorted((read(text.removesuffix("Z")), text) for text in texts)]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int4[]", "[1, null, -3]", "[1,null,-3]"),
        ("text[]", '["a", null, "😀\\""]', '["a",null,"😀\\""]'),
        ("numeric(10,2)[]", '[1.1, null, "99999999.99"]', '["1.10",null,"99999999.99"]'),
        ("float8[]", '[0.1, null, "NaN", "-Infinity"]', '[0.1,null,"NaN","-Infinity"]'),
        ("bool[]", "[true, null, false]", "[true,null,false]"),
        ("timestamptz[]", '["2024-01-01T01:00:00+01:00", null]', '["2024-01-01T00:00:00.000000Z",null]'),
        ("jsonb[]", '[{"a": 1.50}, null, "x"]', '[{"a": 1.50},null,"x"]'),
        ("bytea[]", '["AP8=", null]', '["AP8=",null]'),
        ("date[]", '["2024-02-29"]', '["2024-02-29"]'),
    ],
)
def test_array_is_json_text(kind: str, text: str, expected: str) -> None:
    found = stored(kind, [text, "[]", "null", text])
    assert found[1:3] == ["[]", None]
    assert [json.loads(one) for one in (found[0], found[3])] == [json.loads(expected)] * 2


@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_any_document_is_stored_as_it_reads(drawn: st.DataObject) -> None:
    pairs = drawn.draw(st.lists(DRAWN["jsonb"], min_size=1, max_size=10))
    assert [json.loads(one) for one in stored("jsonb", [text for text, _ in pairs])] == [
        json.loads(text) for text, _ in pairs
    ]
