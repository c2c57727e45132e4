"""Deleting records and presence of fields: which records delete, what they may lack, what is refused."""

from typing import Any

import msgspec
import pytest

from ingestd.batch import DELETES, Chunk, Rows, Tile, presence_of
from ingestd.config.options import Contract, Pipeline
from ingestd.decode.decoder import make_decoder
from ingestd.errors import ConfigError
from tests.sinks.contracts import MemoryRecord

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "text", "required": True},
    {"name": "kind", "type": "text", "path": "event.type", "stored": False},
    {"name": "v", "type": "numeric(5,2)", "required": True},
    {"name": "w", "type": "int4", "default": 7},
]


def pipeline(delete: dict[str, Any] | None, columns: list[dict[str, Any]] = COLUMNS, **table: Any) -> Pipeline:
    whole = {"name": "t", "mode": "upsert", "key": ["id"], **table}
    return msgspec.convert(
        {"name": "p", "topic": "t", "column": columns, "table": whole | ({"delete": delete} if delete else {})},
        Pipeline,
    )


def decoded(declared: Pipeline, *values: bytes | None, keys: list[bytes | None] | None = None) -> Rows:
    records = [MemoryRecord(v, at, key_bytes=keys[at] if keys else None) for at, v in enumerate(values)]
    rows = make_decoder(declared)(Chunk([Tile(0, 0, len(records))], records))
    rows.columns.validate(full=True)
    assert rows.columns.num_rows == len(rows.records)
    return rows


def rows_of(rows: Rows) -> list[list[Any]]:
    return [
        [str(v) if v.__class__.__name__ == "Decimal" else v for v in row.values()] for row in rows.columns.to_pylist()
    ]


WHEN = {"when": {"event.type": "delete"}, "how": "soft"}


def test_without_delete_there_are_no_marks() -> None:
    names = decoded(pipeline(None), b'{"id":"a","v":1}').columns.schema.names
    assert names == ["id", "kind", "v", "w"]


def test_a_predicate_tells_which_records_delete_and_what_each_has() -> None:
    rows = decoded(
        pipeline(WHEN),
        b'{"id":"a","v":1.5,"event":{"type":"upsert"}}',
        b'{"id":"b","event":{"type":"delete"}}',
        b'{"id":"c","v":2,"w":null,"event":{"type":"delete"}}',
        b'{"id":"d","v":null,"event":{"type":"delete"}}',
        b'{"id":"e","v":3,"w":1}',
    )
    marks = [DELETES, *(presence_of(name) for name in ("id", "kind", "v", "w"))]
    assert rows.columns.schema.names[4:] == marks
    assert rows_of(rows) == [
        ["a", "upsert", "1.50", 7, False, True, True, True, False],
        ["b", "delete", None, 7, True, True, True, False, False],
        ["c", "delete", "2.00", None, True, True, True, True, True],
        ["d", "delete", None, 7, True, True, True, False, False],
        ["e", None, "3.00", 1, False, True, False, True, True],
    ]


def test_a_record_that_does_not_delete_lacks_nothing() -> None:
    rows = decoded(
        pipeline(WHEN),
        b'{"id":"a","event":{"type":"upsert"}}',
        b'{"id":"b","v":null}',
        b'{"id":"c"}',
        b'{"event":{"type":"delete"}}',
        b'{"id":"d","v":"x","event":{"type":"delete"}}',
    )
    assert rows_of(rows) == []
    assert [(d.column, d.reason) for d in rows.dead] == [
        ("v", "missing"),
        ("v", "null in a required column"),
        ("v", "missing"),
        ("id", "missing"),
        ("v", "not a number"),
    ]


def test_versions_and_predicates_stay_required_in_deletes() -> None:
    columns: list[dict[str, Any]] = [*COLUMNS[:3], {"name": "ts", "type": "epoch", "required": True}]
    columns[1] = {**columns[1], "required": True}
    rows = decoded(
        pipeline(WHEN, columns, version="ts"),
        b'{"id":"a","event":{"type":"delete"}}',
        b'{"id":"a","ts":1}',
        b'{"id":"a","ts":1,"event":{"type":"delete"}}',
    )
    assert [d.column for d in rows.dead] == ["ts", "kind"]
    assert rows.columns.num_rows == 1


@pytest.mark.parametrize(("kind", "value", "text"), [("bool", True, b"true"), ("int4", 4, b"4"), ("text", "4", b'"4"')])
def test_a_predicate_of_every_type(kind: str, value: object, text: bytes) -> None:
    columns: list[dict[str, Any]] = [COLUMNS[0], {"name": "d", "type": kind}]
    rows = decoded(pipeline({"when": {"d": value}, "how": "hard"}, columns), b'{"id":"a","d":%s}' % text, b'{"id":"a"}')
    assert rows.columns.column(DELETES).to_pylist() == [True, False]


def test_all_conditions_must_hold() -> None:
    columns: list[dict[str, Any]] = [COLUMNS[0], {"name": "a", "type": "int4"}, {"name": "b", "type": "int4"}]
    declared = pipeline({"when": {"a": 1, "b": 2}, "how": "hard"}, columns)
    rows = decoded(
        declared, b'{"id":"x","a":1,"b":2}', b'{"id":"x","a":1,"b":1}', b'{"id":"x","a":1}', b'{"id":"x","a":2,"b":2}'
    )
    assert rows.columns.column(DELETES).to_pylist() == [True, False, False, False]


def test_a_predicate_that_cannot_match_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"delete\.when"):
        make_decoder(pipeline({"when": {"v": "x"}, "how": "hard"}))


def test_keep_when_absent_tells_absent_from_null() -> None:
    columns: list[dict[str, Any]] = [
        COLUMNS[0],
        {"name": "a", "type": "jsonb", "keep_when_absent": True},
        {"name": "b", "type": "int4"},
    ]
    rows = decoded(pipeline(None, columns), b'{"id":"x"}', b'{"id":"x","a":null}', b'{"id":"x","a":1.10}')
    assert rows.columns.schema.names == ["id", "a", "b", presence_of("a")]
    assert rows_of(rows) == [["x", None, None, False], ["x", None, None, True], ["x", "1.10", None, True]]


def test_a_column_that_a_version_leaves_out_is_absent_though_it_has_a_default() -> None:
    columns: list[dict[str, Any]] = [COLUMNS[0], {"name": "w", "type": "int4", "default": 7, "keep_when_absent": True}]
    plain = pipeline(None, columns)
    versioned = msgspec.convert([{"version": 1, "column": columns[:1]}], tuple[Contract, ...])
    declared = msgspec.structs.replace(plain, version_field="n", contract=versioned)
    assert rows_of(decoded(declared, b'{"id":"x","n":1,"w":1}', b'{"id":"y","w":1}')) == [
        ["x", 7, False],
        ["y", 1, True],
    ]


TOMBSTONE = {"tombstone": True, "how": "soft"}


def test_without_the_option_a_tombstone_is_refused() -> None:
    rows = decoded(pipeline(WHEN), None, b'{"id":"b","v":1}', keys=[b"a", b"b"])
    assert [d.reason for d in rows.dead] == ["no value (a tombstone)"]


def test_a_tombstone_deletes_by_the_text_or_object_of_its_key() -> None:
    keys = [b"b", b"a", b'{"id":"c","x":1}', None, b"\xff", b'{"x":1}', b'{"id":"c"', b"b"]
    values = [b'{"id":"b","v":1}', *[None] * 6, b'{"id":"b","v":2}']
    rows = decoded(pipeline(TOMBSTONE), *values, keys=keys)
    assert rows_of(rows) == [
        ["b", None, "1.00", 7, False, True, False, True, False],
        ["a", None, None, None, True, True, False, False, False],
        ["c", None, None, None, True, True, False, False, False],
        ["b", None, "2.00", 7, False, True, False, True, False],
    ]
    assert [record.offset() for record in rows.records] == [0, 1, 2, 7]
    assert [(d.offset, d.column) for d in rows.dead] == [(3, "id"), (4, "id"), (5, "id"), (6, "id")]


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("int8", b"12", b"12"),
        ("numeric(5,2)", b"1.50", b"1.5"),
        ("uuid", b"0" * 32, b'"00000000-0000-0000-0000-000000000000"'),
        ("timestamptz", b"2025-01-01T00:00:00+01:00", b'"2024-12-31T23:00:00Z"'),
        ("epoch", b"1.5", b"1.5"),
        ("date", b"2025-01-01", b'"2025-01-01"'),
        ("bool", b"true", b"true"),
        ("bytea", b"aGk=", b'"aGk="'),
        ("varchar(3)", b"abc", b'"abc"'),
    ],
)
def test_a_tombstone_and_a_value_mean_the_same_key(kind: str, key: bytes, value: bytes) -> None:
    declared = pipeline({"tombstone": True, "how": "hard"}, [{"name": "id", "type": kind, "required": True}])
    rows = decoded(declared, None, b'{"id":%s}' % value, None, keys=[key, None, b"\xff"])
    first, second = rows.columns.column("id").to_pylist()
    assert first == second and first is not None
    assert rows.columns.column(DELETES).to_pylist() == [True, False]
    assert [d.column for d in rows.dead] == ["id"]


def test_a_composite_key_is_an_object_by_path() -> None:
    columns: list[dict[str, Any]] = [
        {"name": "a", "type": "int4", "path": "k.a", "required": True},
        {"name": "b", "type": "text", "required": True},
        {"name": "at", "type": "int8", "source": "offset"},
    ]
    declared = pipeline({"tombstone": True, "how": "hard"}, columns, key=["a", "b"])
    rows = decoded(declared, None, None, None, keys=[b'{"k":{"a":1},"b":"x"}', b"1", b'{"k":{"a":"1"},"b":"x"}'])
    assert rows_of(rows) == [[1, "x", 0, True]]
    assert [d.column for d in rows.dead] == ["a", "a"]
