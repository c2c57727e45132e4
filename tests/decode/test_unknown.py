"""Unknown fields (kept, refused, told as new) and contract versions, against a slow reading of the same records."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.batch import Chunk, Rows, Tile
from ingestd.config.options import Pipeline
from ingestd.decode.decoder import make_decoder
from ingestd.decode.unknown import fits_column, type_of
from tests.decode.records import MemoryRecord

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "int4", "required": True},
    {"name": "a", "type": "text", "path": "o.a"},
]
REST = {"name": "rest", "type": "jsonb"}


def pipeline(columns: list[dict[str, Any]] = COLUMNS, **options: Any) -> Pipeline:
    return msgspec.convert({"name": "p", "topic": "t", "column": columns, "table": {"name": "t"}, **options}, Pipeline)


def decoded(declared: Pipeline, *values: bytes, ignored: set[str] | None = None) -> Rows:
    records = [MemoryRecord(value, at) for at, value in enumerate(values)]
    return make_decoder(declared, ignored=ignored or set())(Chunk([Tile(3, 0, len(records))], records))


def kept(*values: bytes) -> list[object]:
    rows = decoded(pipeline([*COLUMNS, REST], unknown_fields="keep", unknown_column="rest"), *values)
    found: list[object] = rows.columns.column("rest").to_pylist()
    return found


class TestKeep:
    def test_unknown_fields_are_kept_where_they_were_with_their_numbers_as_written(self) -> None:
        number = "9" * 400
        value = b'{"id":1,"x":1.10,"o":{"a":"t","b":[1e2, {"id":2}],"c":-0},"n":%s,"rest":null}' % number.encode()
        assert kept(value) == [f'{{"x":1.10,"n":{number},"rest":null,"o":{{"b":[1e2, {{"id":2}}],"c":-0}}}}']

    def test_nothing_unknown_is_null_also_beside_records_that_have_some(self) -> None:
        assert kept(b'{"id":1}', b'{"id":2,"o":{"a":"x"}}', b'{"id":3,"o":null}') == [None, None, None]
        assert kept(b'{"id":1}', b'{"id":2,"x":true}') == [None, '{"x":true}']

    def test_a_bad_record_moves_nothing(self) -> None:
        values = [
            b'{"id":1,"x":1}',
            b"{",
            b'{"id":3,"x":3}',
            b'{"id":"4","x":4}',
            b'{"id":5,"x":"\\u0000"}',
            b'{"id":6}',
        ]
        assert kept(*values) == ['{"x":1}', '{"x":3}', None]

    @pytest.mark.parametrize(
        "bad", [b'{"id":1,"\xff":1}', b'{"id":1,"x":"\xff"}', b'{"id":1,"\\u0000":1}', b'{"id":1,"\\ud800":1}']
    )
    def test_hostile_names_and_texts_are_refused_alone(self, bad: bytes) -> None:
        declared = pipeline([*COLUMNS, REST], unknown_fields="keep", unknown_column="rest")
        rows = decoded(declared, b'{"id":1,"x":1}', bad, b'{"id":2}')
        assert rows.columns.column("rest").to_pylist() == ['{"x":1}', None]
        assert [d.offset for d in rows.dead] == [1]

    def test_names_that_look_like_sql_json_or_markup_stay_names(self) -> None:
        names = ['"}; DROP TABLE t; --', "<script>", "a\\b", "a.b", "o.a", "\n"]
        value = json.dumps({"id": 1, **{name: 1 for name in names}}).encode()
        (found,) = kept(value)
        assert json.loads(str(found)) == dict.fromkeys(names, 1)


class TestRefuse:
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (b'{"id":1,"x":1}', 'unknown field "x"'),
            (b'{"id":1,"o":{"a":"t","b":1}}', 'unknown field "b" in "o"'),
            (b'{"id":1,"\\n\\u0000":1}', 'unknown field "\ufffd\ufffd"'),
            (b'{"id":1,"%s":1}' % (b"n" * 500), f'unknown field "{"n" * 80}"'),
            (b'{"id":1,"o.a":1}', 'unknown field "o.a"'),
        ],
    )
    def test_reason_names_the_field(self, value: bytes, reason: str) -> None:
        rows = decoded(pipeline(unknown_fields="dead_letter"), b'{"id":0,"o":{"a":"x"}}', value)
        assert [(d.column, d.reason) for d in rows.dead] == [(None, reason)]
        assert rows.columns.num_rows == 1

    def test_a_name_that_imitates_a_path_blames_no_column(self) -> None:
        (letter,) = decoded(pipeline(unknown_fields="dead_letter"), b'{"id":1,"x` - at `$.id":1}').dead
        assert letter.column is None


VERSIONED = {
    "version_field": "meta.v",
    "contract": [
        {"version": 1, "column": [{"name": "id", "type": "int4", "path": "ident", "required": True}]},
        {
            "version": "two",
            "column": [
                {"name": "id", "type": "int4", "path": "i.d", "required": True},
                {"name": "a", "type": "text", "path": "alpha"},
            ],
        },
    ],
}
OWN: list[dict[str, Any]] = [*COLUMNS, {"name": "w", "type": "text", "default": "none"}]


def test_versions_side_by_side_keep_the_order_of_offsets() -> None:
    rows = decoded(
        pipeline(OWN, **VERSIONED),
        b'{"id":0,"o":{"a":"x"},"w":"w"}',
        b'{"meta":{"v":"two"},"i":{"d":1},"alpha":"y"}',
        b'{"meta":{"v":1},"ident":2,"o":{"a":"no"},"w":"no"}',
        b'{"meta":{"v":"1"},"ident":3}',
        b'{"meta":{"v":null},"id":4}',
        b'{"meta":{"v":1},"id":5}',
        b'{"meta":{"v":"\\u0074wo"},"i":{"d":6}}',
        b'{"meta":{"v":1.0},"ident":7}',
        b'{"meta":{"v":true},"ident":7}',
        b'{"meta":{"v":{"\\n":"%s"}},"ident":7}' % (b"n" * 200),
        b'{"meta":{"v":1},"ident":10',
    )
    assert [list(row.values()) for row in rows.columns.to_pylist()] == [
        [0, "x", "w"],
        [1, "y", "none"],
        [2, None, "none"],
        [4, None, "none"],
        [6, None, "none"],
    ]
    assert [record.offset() for record in rows.records] == [0, 1, 2, 4, 6]
    assert [(d.offset, d.column) for d in rows.dead] == [(3, None), (5, "id"), *((n, None) for n in (7, 8, 9, 10))]
    assert rows.dead[0].reason == 'field "meta.v": no contract has version "1"'
    assert all(len(d.reason) < 140 and d.reason.isprintable() for d in rows.dead)


def test_records_of_one_version_between_others_stay_in_their_place() -> None:
    versions = [None, None, "two", None, 1, 1, "two", None]
    values = [
        json.dumps({"meta": {"v": v}, "id": n, "ident": n, "i": {"d": n}}).encode() for n, v in enumerate(versions)
    ]
    rows = decoded(pipeline(OWN, **VERSIONED), *values)
    assert rows.columns.column("id").to_pylist() == [record.offset() for record in rows.records] == list(range(8))


def test_the_version_field_is_known_where_unknown_fields_are_refused() -> None:
    rows = decoded(pipeline(OWN, unknown_fields="dead_letter", **VERSIONED), b'{"id":1,"meta":{"v":null}}', b'{"id":1}')
    assert rows.dead == []


SMALL = st.sampled_from(["id", "o", "x", "ident", "alpha", "i", "meta", "w", "q"])
LEAF: st.SearchStrategy[Any] = st.sampled_from([None, 0, 1, 7, "two", "s", 1.5, [], True])
INNER = st.dictionaries(st.sampled_from(["a", "d", "v", "z"]), LEAF, max_size=3)
DOCUMENT = st.dictionaries(SMALL, LEAF | INNER, max_size=6)
PATHS = {
    None: {"id": "id", "a": "o.a", "w": "w"},
    1: {"id": "ident"},
    "two": {"id": "i.d", "a": "alpha"},
}
NOTHING = object()


def look(document: Any, path: str) -> Any:
    """The value there; NOTHING when it is absent. Raises ValueError for a value on the way."""
    for key in path.split("."):
        if document is None:
            return NOTHING
        if not isinstance(document, dict):
            raise ValueError
        document = document.get(key, NOTHING)
        if document is NOTHING:
            return NOTHING
    return document


def slowly(document: dict[str, Any]) -> list[Any] | None:
    """The row that the versioned contract with `rest` makes of `document`; None when it is refused."""
    try:
        version = look(document, "meta.v")
    except ValueError:
        return None
    version = None if version is NOTHING else version
    if isinstance(version, bool | float | list) or version not in PATHS:
        return None
    paths, row = PATHS[version], []
    for name, kind, default in (("id", int, None), ("a", str, None), ("w", str, "none")):
        try:
            value = look(document, paths[name]) if name in paths else NOTHING
        except ValueError:
            return None
        value = default if value is NOTHING else value
        if (value is not None and type(value) is not kind) or (name == "id" and value is None):
            return None
        row.append(value)
    return [*row, remainder(document, [path.split(".") for path in [*paths.values(), "meta.v"]]) or None]


def remainder(document: dict[str, Any], paths: list[list[str]]) -> dict[str, Any]:
    rest = {}
    for key, value in document.items():
        inner = [path[1:] for path in paths if path[0] == key]
        if not inner:
            rest[key] = value
        elif [] not in inner and isinstance(value, dict) and (below := remainder(value, inner)):
            rest[key] = below
    return rest


KEEPING = make_decoder(pipeline([*OWN, REST], unknown_fields="keep", unknown_column="rest", **VERSIONED))


@settings(deadline=None, max_examples=300)
@given(st.lists(DOCUMENT, max_size=6))
def test_versions_and_keep_equal_a_slow_reading(documents: list[dict[str, Any]]) -> None:
    records = [MemoryRecord(json.dumps(document).encode(), at) for at, document in enumerate(documents)]
    rows = KEEPING(Chunk([Tile(3, 0, len(records))], records))
    found = [[*row.values()] for row in rows.columns.to_pylist()]
    assert [[*row[:3], row[3] and json.loads(row[3])] for row in found] == [
        row for document in documents if (row := slowly(document)) is not None
    ]
    assert [d.offset for d in rows.dead] == [at for at, document in enumerate(documents) if slowly(document) is None]


class TestNewFields:
    EVOLVING = pipeline(on_new_field="evolve")

    def test_types_come_from_the_first_values(self) -> None:
        rows = decoded(
            self.EVOLVING,
            b'{"id":1,"i":1,"f":1,"t":"x","b":true,"o":{"z":1},"j":[1],"m":1,"n":null}',
            b'{"id":2,"i":2,"f":2.5,"t":null,"m":"x"}',
        )
        assert rows.new_fields == {"i": "int8", "f": "float8", "t": "text", "b": "bool", "j": "jsonb", "m": "jsonb"}
        assert rows.columns.num_rows == 2

    def test_known_ignored_and_refused_records_tell_nothing(self) -> None:
        assert decoded(self.EVOLVING, b'{"id":1,"o":null}').new_fields == {}
        assert decoded(self.EVOLVING, b'{"id":1,"x":1}', ignored={"x"}).new_fields == {}
        assert decoded(self.EVOLVING, b'{"id":"bad","x":1}').new_fields == {}

    @pytest.mark.parametrize("name", ["", "n" * 64, "ü" * 32, "a.b", 'a"b', "a\\b", "\n", "ingestd_row", "\u202e"])
    def test_names_that_cannot_be_columns(self, name: str) -> None:
        assert not fits_column(name)
        assert decoded(self.EVOLVING, json.dumps({"id": 1, name: 1}).encode()).new_fields == {name: ""}

    def test_exact_numbers(self) -> None:
        assert type_of([b"9223372036854775807"]) == "int8"
        assert type_of([b"9223372036854775808"]) == "jsonb"
        assert type_of([b"9007199254740993", b"0.5"]) == "jsonb"
        assert type_of([b"1", b"true"]) == "jsonb"
