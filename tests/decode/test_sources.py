"""Columns from elsewhere than the value, and the type epoch: each source in each type, and what it refuses."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ingestd.batch import Chunk, Rows, Tile
from ingestd.config.options import Column, Pipeline, Table
from ingestd.decode.decoder import make_decoder
from tests.sinks.contracts import MemoryRecord

NOW = 1_769_021_700.25


def decoded(records: list[MemoryRecord], *columns: dict[str, Any]) -> Rows:
    pipeline = Pipeline(
        name="p",
        topic="orders",
        column=tuple(msgspec.convert(column, Column) for column in columns),
        table=Table(name="t"),
    )
    chunk = Chunk([Tile(0, 0, len(records))], records)
    return make_decoder(pipeline, clock=lambda: NOW)(chunk)


def from_key(kind: str, *keys: bytes | None, **options: Any) -> tuple[list[Any], dict[int, tuple[str | None, str]]]:
    records = [MemoryRecord(b"{}", at, key_bytes=key) for at, key in enumerate(keys)]
    rows = decoded(records, {"name": "k", "type": kind, "source": "key", **options})
    return rows.columns.column(0).to_pylist(), {d.offset: (d.column, d.reason) for d in rows.dead}


def test_place_and_time_of_the_record() -> None:
    names = ("topic", "partition", "offset", "timestamp", "now")
    kinds = ("text", "int4", "int8", "timestamptz", "text")
    columns = [{"name": n, "type": k, "source": n} for n, k in zip(names, kinds, strict=True)]
    records = [MemoryRecord(b"{}", 7, 3), MemoryRecord(b"x", 8, 3), MemoryRecord(b"{}", 9, 3, time_ms=1)]
    rows = decoded(records, *columns)
    assert [list(row.values()) for row in rows.columns.to_pylist()] == [
        ["orders", 3, 7, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), "2026-01-21T18:55:00.250Z"],
        ["orders", 3, 9, datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), "2026-01-21T18:55:00.250Z"],
    ]


@pytest.mark.parametrize(
    ("kind", "stamp", "clock"),
    [
        ("int8", 1_700_000_000_123, 1_769_021_700_250),
        ("epoch", 1_700_000_000.123, NOW),
        ("timestamp", datetime(2023, 11, 14, 22, 13, 20, 123_000), datetime(2026, 1, 21, 18, 55, 0, 250_000)),
    ],
)
def test_times_in_every_type(kind: str, stamp: object, clock: object) -> None:
    columns = [{"name": name, "type": kind, "source": name} for name in ("timestamp", "now")]
    rows = decoded([MemoryRecord(b"{}", 0, time_ms=1_700_000_000_123)], *columns)
    assert list(rows.columns.to_pylist()[0].values()) == [stamp, clock]


def test_a_record_without_a_timestamp_has_none() -> None:
    column = {"name": "t", "type": "int8", "source": "timestamp"}
    assert decoded([MemoryRecord(b"{}", 0, time_ms=-1)], column).columns.column(0).to_pylist() == [None]
    (letter,) = decoded([MemoryRecord(b"{}", 0, time_ms=-1)], {**column, "required": True}).dead
    assert (letter.column, letter.reason) == ("t", "null in a required column")


def test_a_timestamp_beyond_the_years_is_refused_alone() -> None:
    column = {"name": "t", "type": "timestamptz", "source": "timestamp"}
    rows = decoded([MemoryRecord(b"{}", 0, time_ms=1 << 62), MemoryRecord(b"{}", 1)], column)
    assert ([d.column for d in rows.dead], rows.columns.num_rows) == (["t"], 1)


def test_headers_are_an_object_that_keeps_repeats_and_bytes() -> None:
    pairs: list[tuple[str, bytes | None]] = [
        ("a", b"x"),
        ("b", None),
        ("c", b"\xff"),
        ("d", b"1"),
        ("d", b'"2'),
        ("d", b"3"),
    ]
    sets: list[list[tuple[str, bytes | None]] | None] = [pairs, None, [("n", b"\0")]]
    records = [MemoryRecord(b"{}", at, pairs=some) for at, some in enumerate(sets)]
    rows = decoded(records, {"name": "h", "type": "jsonb", "source": "headers"})
    first, none = rows.columns.column(0).to_pylist()
    assert msgspec.json.decode(first) == {"a": "x", "b": None, "c": {"base64": "/w=="}, "d": ["1", '"2', "3"]}
    assert none is None
    assert [d.offset for d in rows.dead] == [2]


@pytest.mark.parametrize(
    ("kind", "good", "value", "bad"),
    [
        ("text", "straße".encode(), "straße", b"\xff"),
        ("text", b"", "", b"a\0b"),
        ("varchar(3)", b"abc", "abc", b"abcd"),
        ("bytea", b"\xff\0", b"\xff\0", None),
        ("uuid", b"00000000-0000-0000-0000-000000000001", bytes(15) + b"\1", b"1"),
        ("int2", b"-32768", -32768, b"32768"),
        ("int4", b"12", 12, b'12,"x":1'),
        ("int8", b"9223372036854775807", (1 << 63) - 1, b"9223372036854775808"),
        ("int8", b"1", 1, b"1.0"),
        ("jsonb", b'{"a": 1.10}', '{"a": 1.10}', b'{"a"'),
    ],
)
def test_the_whole_key_in_each_type(kind: str, good: bytes, value: object, bad: bytes | None) -> None:
    found, dead = from_key(kind, good, bad, good)
    if bad is None:
        assert (found, dead) == ([value, None, value], {})
    else:
        assert found == [value, value]
        assert list(dead) == [1] and dead[1][0] == "k"
    assert from_key(kind, good)[0] == [value]


def test_a_missing_key_is_null_or_refused() -> None:
    assert from_key("text", None, b"a") == ([None, "a"], {})
    assert from_key("text", None, b"a", required=True) == (["a"], {0: ("k", "the record has no key")})
    assert from_key("jsonb", None, b"1", required=True) == (["1"], {0: ("k", "the record has no key")})


def test_fields_of_a_json_key_stand_beside_fields_of_the_value() -> None:
    columns: list[dict[str, Any]] = [
        {"name": "k", "type": "int4", "source": "key", "path": "id", "required": True},
        {"name": "w", "type": "text", "source": "key", "path": "o.w"},
        {"name": "v", "type": "text", "path": "id"},
    ]
    pairs = [
        (b'{"id":1,"o":{"w":"x"}}', b'{"id":"v1"}'),
        (b'{"id":"1"}', b'{"id":"v2"}'),
        (b'{"id":3}', b"{"),
        (None, b'{"id":"v4"}'),
        (b"[", b"{"),
        (b'{"id":6,"o":null}', b"{}"),
    ]
    rows = decoded([MemoryRecord(value, at, key_bytes=key) for at, (key, value) in enumerate(pairs)], *columns)
    assert [list(row.values()) for row in rows.columns.to_pylist()] == [[1, "x", "v1"], [6, None, None]]
    assert [record.offset() for record in rows.records] == [0, 5]
    assert [(d.offset, d.column) for d in rows.dead] == [(1, "k"), (2, None), (3, "k"), (4, None)]
    assert rows.dead[2].reason == "in the record's key: missing"


def epoch_of(text: str, **options: Any) -> object:
    rows = decoded([MemoryRecord(b'{"x":%s}' % text.encode(), 0)], {"name": "x", "type": "epoch", **options})
    return [d.reason for d in rows.dead] or rows.columns.column(0).to_pylist()[0]


@pytest.mark.parametrize(
    "text",
    [
        "1769021700.25",
        '"1769021700.25"',
        '"1769021700.250000000"',
        '"2026-01-21T18:55:00.25Z"',
        '"2026-01-21T20:55:00.250+02:00"',
        '"2026-01-21 18:55:00.25Z"',
        "17690217002.5e-1",
    ],
)
def test_epoch_reads_every_form_the_same(text: str) -> None:
    assert epoch_of(text) == NOW
    mixed = [f'{{"x":{one}}}'.encode() for one in (text, "null", "1", '"1970-01-01T00:00:00Z"')]
    rows = decoded([MemoryRecord(one, at) for at, one in enumerate(mixed)], {"name": "x", "type": "epoch"})
    assert rows.columns.column(0).to_pylist() == [NOW, None, 1.0, 0.0]


def test_epoch_units_and_integers() -> None:
    assert epoch_of("1769021700") == 1769021700.0
    assert epoch_of("1769021700250", epoch="ms") == NOW
    assert epoch_of('"1769021700250000"', epoch="us") == NOW
    assert epoch_of('"2026-01-21T18:55:00.25"', assume_utc=True) == NOW
    assert epoch_of("-0.5") == -0.5
    assert epoch_of('"9999-12-31T23:59:59Z"') == 253402300799.0


@pytest.mark.parametrize("text", ['"yesterday"', '"2026-01-21T18:55:00"', '""', "1e300", '"NaN"', "true", "[]", "9e99"])
def test_epoch_refuses_what_is_no_time(text: str) -> None:
    assert isinstance(epoch_of(text), list)
