"""Hostile records: none crashes the decoder, spoils a neighbour or gets around the policy of its column."""

import time
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.batch import Rows
from ingestd.config.options import Column, Pipeline
from ingestd.decode.decoder import make_decoder
from tests.decode.records import chunk_of

GOOD = b'{"id":"good","t":"ok","j":{"k":1},"n":1,"d":1.5,"f":0.5,"at":"2026-01-01T00:00:00Z","u":null}'
COLUMNS = {
    "t": "text",
    "j": "jsonb",
    "n": "int4",
    "d": "numeric(10,2)",
    "f": "float8",
    "at": "timestamptz",
    "u": "uuid",
    "day": "date",
    "a": "text[]",
}


def pipeline(on_bad: str, **by_column: str) -> Pipeline:
    columns = [{"name": "id", "type": "text", "required": True}]
    columns += [{"name": name, "type": kind, "on_bad": by_column.get(name)} for name, kind in COLUMNS.items()]
    tree = {"name": "p", "topic": "t", "on_bad": on_bad, "column": columns, "table": {"name": "t"}}
    return msgspec.convert(tree, Pipeline)


def between_good_ones(value: bytes | None, on_bad: str = "dead_letter", **by_column: str) -> Rows:
    """What becomes of [good, value, good]; that the good ones are rows is checked here, for every test."""
    rows = make_decoder(pipeline(on_bad, **by_column))(chunk_of([GOOD, value, GOOD]))
    ids = rows.columns.column("id").to_pylist()
    assert (ids[0], ids[-1], len(ids) + len(rows.dead)) == ("good", "good", 3)
    assert [record.offset() for record in rows.records] == [100, 101, 102][:: 1 if len(ids) == 3 else 2]
    return rows


def stored(column: str, value: bytes, on_bad: str, **by_column: str) -> object:
    """The value that reaches the column, or "refused: reason"."""
    rows = between_good_ones(b'{"id":"x","%s":%s}' % (column.encode(), value), on_bad, **by_column)
    if rows.dead:
        (letter,) = rows.dead
        assert letter.stage == "decode"
        return f"refused: {letter.reason}"
    return rows.columns.column(column).to_pylist()[1]


NUL = "refused: holds a NUL character, which no text column can store"


@pytest.mark.parametrize(
    ("column", "value", "refused", "strip", "replace"),
    [
        ("t", rb'"a\u0000b"', NUL, "ab", "a\ufffdb"),
        ("t", rb'"a\ud800b"', "refused: holds half of a surrogate pair", "ab", "a\ufffdb"),
        ("t", rb'"a\udc00"', "refused: holds half of a surrogate pair", "a", "a\ufffd"),
        ("t", b'"a\xff\xfeb"', "refused: invalid UTF-8 in a text", "ab", "a\ufffd\ufffdb"),
        ("t", rb'"\u0000"', NUL, "", "\ufffd"),
        ("j", rb'{"k":"a\u0000"}', NUL, '{"k":"a"}', '{"k":"a\ufffd"}'),
        ("j", rb'{"a\u0000":1}', NUL, '{"a":1}', '{"a\ufffd":1}'),
        ("j", rb'{"a":1,"a\u0000":2}', NUL, '{"a":1,"a\ufffd":2}', '{"a":1,"a\ufffd":2}'),
        ("j", rb'["\ud800"]', "refused: holds half of a surrogate pair", '[""]', '["\ufffd"]'),
        ("j", rb'["\udc00x"]', "refused: holds half of a surrogate pair", '["x"]', '["\ufffdx"]'),
        ("j", b'["\xff"]', "refused: invalid UTF-8", '[""]', '["\ufffd"]'),
        ("j", rb'{"k":"\u0000","n":1.10e400}', NUL, '{"k":"","n":1.10e400}', '{"k":"\ufffd","n":1.10e400}'),
        ("a", rb'["x","a\u0000b"]', "refused: element: holds a NUL", ["x", "ab"], ["x", "a\ufffdb"]),
        ("a", b'["x","a\xff"]', "refused: invalid UTF-8", ["x", "a"], ["x", "a\ufffd"]),
    ],
)
def test_bad_characters_follow_the_policy(
    column: str, value: bytes, refused: str, strip: object, replace: object
) -> None:
    assert str(stored(column, value, "dead_letter")).startswith(refused)
    assert stored(column, value, "strip") == strip
    assert stored(column, value, "replace") == replace
    assert stored(column, value, "null") is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", b"2147483648"),
        ("n", b"-99999999999999999999"),
        ("n", b"NaN"),
        ("n", b"1e2"),
        ("n", b"9" * 400),
        ("n", b"9" * 5000),
        ("n", b'"12"'),
        ("d", b"123456789.00"),
        ("d", b"0.001"),
        ("d", b"9" * 400),
        ("d", b"1e400"),
        ("d", b"1e999999999"),
        ("d", b"NaN"),
        ("d", b'"NaN"'),
        ("d", b"Infinity"),
        ("d", b'"-Infinity"'),
        ("f", b"NaN"),
        ("f", b"1e400"),
        ("at", b'"10000-01-01T00:00:00Z"'),
        ("at", b'"0000-01-01T00:00:00Z"'),
        ("at", b'"2016-12-31T23:59:60Z"'),
        ("at", b'"2026-02-30T00:00:00Z"'),
        ("at", b'"yesterday"'),
        ("at", b"17"),
        ("day", b'"2026-13-01"'),
        ("u", b'"not-a-uuid"'),
        ("u", b"{}"),
    ],
)
def test_value_beyond_its_type_is_refused_or_null_but_never_something_else(column: str, value: bytes) -> None:
    for policy in ("dead_letter", "strip", "replace"):
        assert str(stored(column, value, policy)).startswith("refused: ")
    assert stored(column, value, "null") is None


@pytest.mark.parametrize("word", [b'"NaN"', b'"Infinity"', b'"-Infinity"'])
def test_floats_hold_what_integers_and_decimals_refuse(word: bytes) -> None:
    assert str(stored("f", word, "dead_letter")).casefold() in ("nan", "inf", "-inf")
    assert str(stored("n", word, "strip")).startswith("refused: ")


def test_required_column_is_never_null() -> None:
    for value in (b'{"id":"\\u0000"}', b'{"id":"\xff"}', b'{"id":5}', b'{"id":"\\ud800"}'):
        rows = between_good_ones(value, "null")
        assert len(rows.dead) == 1 and rows.dead[0].payload == value


def test_columns_have_policies_of_their_own() -> None:
    value = rb'{"id":"x","t":"a\u0000b","j":["\u0000"],"n":99999999999}'
    rows = between_good_ones(value, "dead_letter", t="strip", j="replace", n="null")
    assert [rows.columns.column(name).to_pylist()[1] for name in ("t", "j", "n")] == ["ab", '["\ufffd"]', None]
    assert len(between_good_ones(value, "replace", n="dead_letter").dead) == 1


def test_a_policy_of_the_column_wins_over_the_pipeline() -> None:
    assert str(stored("t", b'"a\xff"', "strip", t="dead_letter")).startswith("refused: ")
    assert stored("t", b'"a\xff"', "dead_letter", t="strip") == "a"


def test_several_bad_values_of_one_record_are_mended_together() -> None:
    rows = between_good_ones(b'{"id":"x","n":1e99,"d":"z","at":7,"u":"\xff","t":"\xff","day":[]}', "null")
    assert rows.dead == []
    assert [rows.columns.column(name).to_pylist()[1] for name in ("n", "d", "at", "u", "t", "day")] == [None] * 6


def test_a_field_nobody_reads_cannot_cost_the_record() -> None:
    rows = between_good_ones(b'{"id":"x","t":"a\xff","other":"\xff","\xff":1,"nan":NaN}', "strip")
    assert rows.dead == [] and rows.columns.column("t").to_pylist()[1] == "a"


def test_stripping_never_forges_a_field() -> None:
    for key in (b'"id\\u0000"', b'"id\\ud800"', b'"id\xff"'):
        rows = between_good_ones(b'{"id":"x","t":"\xff",%s:"forged"}' % key, "strip")
        assert rows.columns.column("id").to_pylist()[1] == "x"


def test_a_mended_value_still_has_to_keep_the_rules() -> None:
    columns = (
        Column(name="id", type="text", required=True),
        Column(name="t", type="text", pattern="^[a-z]+$", on_bad="strip"),
    )
    tree = Pipeline(name="p", topic="t", column=columns, table=pipeline("strip").table)
    rows = make_decoder(tree)(chunk_of([rb'{"id":"1","t":"a\u0000b"}', rb'{"id":"2","t":"\u00001"}']))
    assert rows.columns.column("t").to_pylist() == ["ab"]
    assert [letter.reason for letter in rows.dead] == ["does not match the pattern"]


def test_a_broken_rule_is_never_mended() -> None:
    columns = (Column(name="t", type="text", max_length=2, on_bad="null"), Column(name="n", type="int4", min=0))
    tree = Pipeline(name="p", topic="t", on_bad="null", column=columns, table=pipeline("null").table)
    rows = make_decoder(tree)(chunk_of([b'{"t":"abc"}', b'{"n":-1}', b'{"n":1}']))
    assert [letter.column for letter in rows.dead] == ["t", "n"]


@pytest.mark.parametrize("on_bad", ["dead_letter", "strip", "replace", "null"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value (a tombstone)"),
        (b"", "empty value"),
        (b"\xef\xbb\xbf" + GOOD, "starts with a byte order mark"),
        (GOOD.decode().encode("utf-16"), "JSON is malformed"),
        (b"null", "expected object, got null"),
        (b"[%b]" % GOOD, "expected object, got array"),
        (b'"text"', "expected object, got str"),
        (b"7", "expected object, got int"),
        (b"NaN", "JSON is malformed"),
        (GOOD + GOOD, "JSON is malformed"),
        (GOOD[:-1], "Input data was truncated"),
        (b"\x00" * 100, "JSON is malformed"),
        (b"\xff" * 100, "JSON is malformed"),
        (b"<html><script>alert(1)</script></html>", "JSON is malformed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_value_that_is_no_record_is_refused_under_every_policy(on_bad: str, value: bytes | None, reason: str) -> None:
    (letter,) = between_good_ones(value, on_bad).dead
    assert letter.reason.startswith(reason) and letter.payload == value


@pytest.mark.parametrize("on_bad", ["dead_letter", "null"])
@pytest.mark.parametrize("depth", [900, 1_000, 100_000])
@pytest.mark.parametrize("where", ["j", "other", "n", "top"])
def test_deep_nesting_costs_one_record_at_most(where: str, depth: int, on_bad: str) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"k":', b"}")):
        deep = opening * depth + b"1" + closing * depth
        rows = between_good_ones(deep if where == "top" else b'{"id":"x","%s":%s}' % (where.encode(), deep), on_bad)
        assert all(letter.payload and len(letter.payload) > depth for letter in rows.dead)


def test_the_last_of_duplicate_keys_counts_as_in_every_json_reader() -> None:
    rows = between_good_ones(b'{"id":"first","id":"last","n":1,"n":2}')
    assert [rows.columns.column(name).to_pylist()[1] for name in ("id", "n")] == ["last", 2]
    mended = between_good_ones(b'{"id":"first","id":"last","t":"\xff","n":1,"n":2}', "strip")
    assert [mended.columns.column(name).to_pylist()[1] for name in ("id", "n")] == ["last", 2]


PAYLOADS = [
    "'; DROP TABLE orders; --",
    '"); DROP TABLE orders; --',
    "../../../../etc/passwd",
    "event_type=x/year=2026/../..",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "$(touch pwned)",
    "`touch pwned`",
    "%s%n{0.__class__}",
    "\x1b[2J\x1b]0;title\x07",
    "\u202eright to left",
    "\\N\t\\.",
    "__proto__",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_are_text_and_nothing_else(payload: str) -> None:
    value = msgspec.json.encode({"id": payload, payload: payload, "t": payload, "j": {payload: payload}})
    rows = between_good_ones(value)
    assert rows.columns.column("id").to_pylist()[1] == rows.columns.column("t").to_pylist()[1] == payload
    assert msgspec.json.decode(rows.columns.column("j").to_pylist()[1]) == {payload: payload}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_is_quoted_in_a_reason(payload: str) -> None:
    for record in ({"id": 5, payload: payload}, {"id": "x", "n": payload}, {"id": "x", "u": payload}, {payload: 1}):
        (letter,) = between_good_ones(msgspec.json.encode(record)).dead
        assert payload not in letter.reason and letter.column in ("id", "n", "u")


@pytest.mark.parametrize("on_bad", ["dead_letter", "strip"])
def test_fifty_megabytes_are_one_record(on_bad: str) -> None:
    """Bounds, not a measurement: a text of 50 MB, good and then with one NUL at its end."""
    big = b"x" * 50_000_000
    for tail, dead in ((b"", 0), (rb"\u0000", int(on_bad == "dead_letter"))):
        value = b'{"id":"big","t":"%b%b"}' % (big, tail)
        tracemalloc.start()
        began = time.monotonic()
        rows = between_good_ones(value, on_bad)
        secs, (_, peak) = time.monotonic() - began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(rows.dead) == dead
        assert secs < 10 and peak < 8 * len(value)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["dead_letter", "strip", "replace", "null"]))
def test_no_bytes_at_all_raise_or_get_lost(values: list[bytes], on_bad: str) -> None:
    rows = make_decoder(pipeline(on_bad))(chunk_of([GOOD, *values, GOOD]))
    assert rows.columns.num_rows + len(rows.dead) == len(values) + 2
    assert rows.columns.num_rows == len(rows.records) >= 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*COLUMNS, "id", "zz"]), JSON_VALUES, max_size=6),
    st.sampled_from(["strip", "replace", "null"]),
)
def test_what_is_mended_can_be_stored(tree: dict[str, object], on_bad: str) -> None:
    """Every text that reaches a column can be encoded as UTF-8 and holds no NUL, escaped or not."""
    import json

    value = json.dumps({"id": "x"} | tree).encode()
    rows = make_decoder(pipeline(on_bad))(chunk_of([value]))
    for name in ("t", "j"):
        for text in rows.columns.column(name).to_pylist():
            assert "\0" not in (text or "")
            (text or "").encode()
    for text in rows.columns.column("j").to_pylist():
        assert "\0" not in repr(json.loads(text or "null")).encode("utf-8", "strict").decode()
