"""Hostile records and a real PostgreSQL: what passes is stored as it was, the rest costs one record each."""

from typing import Any

import msgspec
import orjson
import pytest

from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import ask

DDL = "CREATE TABLE orders (id text PRIMARY KEY, t text, j jsonb, n int4, d numeric(10,2), f float8, at timestamptz)"
COLUMNS = {
    "id": "text",
    "t": "text",
    "j": "jsonb",
    "n": "int4",
    "d": "numeric(10,2)",
    "f": "float8",
    "at": "timestamptz",
}
HOSTILE = [
    rb'{"id":"nul","t":"a\u0000b"}',
    rb'{"id":"nul-j","j":{"k\u0000":"\u0000"}}',
    rb'{"id":"half","t":"\ud800"}',
    rb'{"id":"half-j","j":["\udfff"]}',
    b'{"id":"utf8","t":"a\xffb"}',
    b'{"id":"utf8-j","j":["\xff"]}',
    b'{"id":"nan","n":NaN,"d":NaN}',
    b'{"id":"words","d":"Infinity"}',
    b'{"id":"beyond","n":2147483648}',
    b'{"id":"digits","d":%b}' % (b"9" * 400),
    b'{"id":"year","at":"10000-01-01T00:00:00Z"}',
    b'{"id":"leap","at":"2016-12-31T23:59:60Z"}',
]
NEVER = [None, b"", b"[]", b"7", b"\xef\xbb\xbf{}", b'{"id":"x"', b"[" * 100_000]
NAMES = [msgspec.json.decode(b"{%b}" % value[1 : value.index(b",")])["id"] for value in HOSTILE]


@pytest.mark.parametrize("on_bad", ["dead_letter", "strip", "replace", "null"])
def test_hostile_records_between_good_ones(bench: MakeBench, on_bad: str) -> None:
    one = bench(DDL, COLUMNS, on_bad=on_bad)
    values: list[Any] = []
    for number, value in enumerate([*HOSTILE, *NEVER]):
        values += [{"id": f"good-{number:02d}"}, value]
    one.commit([*values, {"id": "last"}])
    assert one.cursor() == len(values) + 1
    stored = one.column()
    assert len(stored) + len(one.dead()) == len(values) + 1
    assert {"last", *(f"good-{number:02d}" for number in range(len(HOSTILE) + len(NEVER)))} <= set(stored)
    mended = {"strip": NAMES[:6], "replace": NAMES[:6], "null": NAMES}.get(on_bad, [])
    assert sorted(set(stored) & set(NAMES)) == sorted(mended)
    found = dict(ask(one.url, "SELECT id, t FROM orders WHERE id IN ('nul', 'utf8', 'half')"))
    assert (
        found
        == {
            "dead_letter": {},
            "strip": {"nul": "ab", "utf8": "ab", "half": ""},
            "replace": {"nul": "a\ufffdb", "utf8": "a\ufffdb", "half": "\ufffd"},
            "null": {"nul": None, "utf8": None, "half": None},
        }[on_bad]
    )


def test_what_only_the_database_can_refuse_costs_one_record(bench: MakeBench) -> None:
    """jsonb's own limits: numbers of more than 131,072 digits, and nesting beyond the server's stack."""
    one = bench(DDL, COLUMNS)
    deep = b'{"id":"deep","j":%b1%b}' % (b"[" * 900, b"]" * 900)
    one.commit([{"id": "a"}, b'{"id":"big","j":{"n":1e200000}}', {"id": "b"}, deep, {"id": "c"}])
    assert one.column() == ["a", "b", "c", "deep"]
    assert one.dead() == [(1, "22003")]
    assert one.cursor() == 5


PAYLOADS = [
    "'; DROP TABLE orders; --",
    '"; DROP TABLE orders; --',
    "\\'; DROP TABLE orders; --",
    "$$; DROP TABLE orders; $$",
    "\\N",
    "\\.\n",
    "a\tb\r\n",
    "../../etc/passwd",
    "event_type=x/../../year=2026",
    "<script>alert(1)</script>",
    "$(touch pwned)",
    "%s %(id)s {0}",
    "\x1b[2J",
]


@pytest.mark.parametrize("direct", [True, False])
def test_payloads_as_values_fields_keys_and_headers_are_text(bench: MakeBench, direct: bool) -> None:
    one = bench(DDL, COLUMNS, direct=direct)
    records = [{"id": payload, payload: payload, "t": payload, "j": {payload: payload}} for payload in PAYLOADS]
    one.commit([*records, *({"id": 5, payload: payload} for payload in PAYLOADS), {"id": PAYLOADS[0]}])
    assert sorted(one.column()) == sorted(PAYLOADS)
    for payload, text, tree in ask(one.url, "SELECT id, t, j FROM orders"):
        assert text == payload and tree == {payload: payload}
    dead = ask(one.url, 'SELECT payload, reason FROM ingestd.dead_letters ORDER BY "offset"')
    assert [orjson.loads(bytes(payload)) for payload, _ in dead] == [{"id": 5, p: p} for p in PAYLOADS]
    assert {reason for _, reason in dead} == {"expected str, got int"}


def test_columns_and_tables_named_like_attacks_are_only_names(bench: MakeBench) -> None:
    name = "x; DROP TABLE y; --"
    one = bench("", {"id": "text", name: "text", "<b>": "int4"}, create=True, table="orders")
    one.commit([{"id": "a", name: "kept", "<b>": 1}, {"id": "a", name: "again"}])
    assert ask(one.url, 'SELECT id, "x; DROP TABLE y; --", "<b>" FROM orders') == [("a", "kept", 1)]
