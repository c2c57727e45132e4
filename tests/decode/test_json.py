"""Records into rows: what is kept, what is refused, and that nothing is lost, joined or moved."""

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.config.options import Column
from ingestd.decode.decoder import make_decoder
from ingestd.errors import ConfigError
from tests.decode.records import chunk_of, contract, decoded

ID = Column(name="id", type="text", required=True)
A = Column(name="a", type="int4")


def good(name: str) -> bytes:
    return b'{"id":"%s","a":1}' % name.encode()


def ids(values: list[bytes | None]) -> list[str]:
    found: list[str] = decoded(values, ID, A).columns.column("id").to_pylist()
    return found


def test_records_of_a_good_chunk_are_not_copied() -> None:
    chunk = chunk_of([good("x"), good("y")])
    rows = make_decoder(contract(ID, A))(chunk)
    assert rows.records is chunk.records
    assert rows.tiles is chunk.tiles
    assert rows.dead == []
    assert rows.nbytes == 2 * len(good("x"))
    assert rows.columns.schema == pa.schema([("id", pa.string()), ("a", pa.int32())])


def test_an_empty_chunk_gives_empty_rows() -> None:
    rows = decoded([], ID, Column(name="u", type="uuid"), Column(name="n", type="numeric(5,2)"))
    assert rows.columns.num_rows == 0 and rows.dead == []


def test_a_bad_record_leaves_its_neighbours_in_order() -> None:
    values: list[bytes | None] = [good(str(n)) for n in range(50)]
    values[0] = b"{"
    values[7] = values[8] = None
    values[30] = b'{"id":"bad\\u0000"}'
    values[49] = b'{"id":5}'
    rows = decoded(values, ID, A)
    kept = [n for n in range(50) if n not in (0, 7, 8, 30, 49)]
    assert rows.columns.column("id").to_pylist() == [str(n) for n in kept]
    assert [record.offset() for record in rows.records] == [100 + n for n in kept]
    assert [letter.offset for letter in rows.dead] == [100, 107, 108, 130, 149]


def test_a_dead_letter_holds_all_that_is_needed_to_send_it_again() -> None:
    (letter,) = decoded([b'{"id":"x","a":"secret"}'], ID, A).dead
    assert (letter.partition, letter.offset, letter.key, letter.payload) == (
        3,
        100,
        b"key-100",
        b'{"id":"x","a":"secret"}',
    )
    assert (letter.headers, letter.timestamp_ms) == ([("h", b"1")], 1_700_000_000_100)
    assert (letter.stage, letter.column, letter.reason, letter.sqlstate) == (
        "decode",
        "a",
        "expected int, got str",
        None,
    )


@pytest.mark.parametrize(
    ("value", "column", "reason"),
    [
        (None, None, "no value (a tombstone)"),
        (b"", None, "empty value"),
        (b"\xef\xbb\xbf" + good("a"), None, "starts with a byte order mark"),
        (b"[]", None, "expected object, got array"),
        (b"null", None, "expected object, got null"),
        (b'{"id":"a"}]', None, "JSON is malformed: trailing characters (byte 11)"),
        (b'{"id":"x"},{"id":"y"}', None, "JSON is malformed: trailing characters (byte 11)"),
        (b'{"id":"A","note":"', None, "Input data was truncated"),
        (b'{"id":"\xff"}', None, "invalid UTF-8 in a text"),
        (b'{"id":"a","z":' + b"[" * 3000 + b"]" * 3000 + b"}", None, "nested too deeply"),
        (b"{}", "id", "missing"),
        (b'{"id":null}', "id", "expected str, got null"),
        (b'{"id":"a\\u0000b"}', "id", "holds a NUL character, which no text column can store"),
        (b'{"id":"a","a":true}', "a", "expected int, got bool"),
        (b'{"id":"a","a":1.0}', "a", "expected int, got float"),
        (b'{"id":"a","a":2147483648}', "a", "expected int <= 2147483647"),
        (b'{"id":"a","a":' + b"9" * 400 + b"}", "a", "expected int <= 2147483647"),
    ],
)
def test_reason_of_a_refused_record(value: bytes | None, column: str | None, reason: str) -> None:
    rows = decoded([good("before"), value, good("after")], ID, A)
    assert [(letter.column, letter.reason) for letter in rows.dead] == [(column, reason)]
    assert rows.columns.column("id").to_pylist() == ["before", "after"]


@pytest.mark.parametrize("value", [b'{"id":"\\ud800"}', b'{"id":"\\ud800abcdefghij"}', b'{"id":"\xed\xa0\x80"}'])
def test_a_lone_surrogate_is_refused(value: bytes) -> None:
    assert len(decoded([good("a"), value], ID, A).dead) == 1


def test_fields_that_are_not_declared_are_skipped_whatever_they_hold() -> None:
    assert ids([b'{"id":"a","z":%s,"id2":"\xff"}' % (b"9" * 400)]) == ["a"]


def test_the_last_of_duplicate_keys_wins() -> None:
    assert ids([b'{"id":"a","id":"b"}']) == ["b"]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([b'{"id":"evil1"},{"id":"evil2"}', b'{"id":"A","note":"', b'"}', good("good")], ["good"]),
        ([b'{"id":"e1"},{"id":"e2"}', good("good"), b'{"id":"A","note":"', b'"}'], ["good"]),
        ([b'{"id":"e1"},{"id":"forged"},{"id":"e2","zz":[0', good("victim"), b"0]}"], ["victim"]),
        ([b'{"id":"a","note":"\xe2\x82', b'\xac"}', good("b")], ["b"]),
    ],
)
def test_a_record_can_neither_swallow_nor_forge_its_neighbours(values: list[bytes | None], kept: list[str]) -> None:
    rows = decoded(values, ID, A)
    assert rows.columns.column("id").to_pylist() == kept
    assert len(rows.dead) == len(values) - len(kept)


@pytest.mark.parametrize("kind", ["numeric(10,2)", "jsonb"])
def test_raw_values_cannot_reach_into_their_neighbours(kind: str) -> None:
    column = Column(name="x", type=kind)
    values: list[bytes | None] = [b'{"x":1}', b'{"x":"1\\u0000,2"}', b'{"x":"\\n3\\u000a"}', b'{"x":4}']
    rows = decoded(values, column)
    kept = [str(value) for value in rows.columns.column(0).to_pylist()]
    assert kept[0] in ("1", "1.00") and kept[-1] in ("4", "4.00")
    assert len(rows.records) + len(rows.dead) == 4


class TestNullAndDefault:
    def test_absent_takes_the_default_and_null_stays_null(self) -> None:
        column = Column(name="x", type="int4", default=7)
        assert decoded([b"{}", b'{"x":null}', b'{"x":1}'], column).columns.column(0).to_pylist() == [7, None, 1]

    def test_required_with_default_refuses_only_null(self) -> None:
        for kind, default in (("int4", 7), ("numeric(3,1)", "7.0"), ("jsonb", "{}")):
            rows = decoded([b"{}", b'{"x":null}'], Column(name="x", type=kind, default=default, required=True))
            assert (rows.columns.num_rows, len(rows.dead)) == (1, 1), kind
            assert rows.dead[0].column == "x"

    def test_null_in_a_required_numeric_is_refused(self) -> None:
        (letter,) = decoded([b'{"x":null}'], Column(name="x", type="numeric(3,1)", required=True)).dead
        assert (letter.column, letter.reason) == ("x", "null in a required column")

    def test_empty_text_is_not_null(self) -> None:
        column = Column(name="x", type="text")
        assert decoded([b'{"x":""}', b"{}"], column).columns.column(0).to_pylist() == ["", None]

    @pytest.mark.parametrize(
        ("kind", "default"),
        [("int4", "seven"), ("int2", 40_000), ("timestamptz", "yesterday"), ("numeric(3,1)", 1.25), ("uuid", "x")],
    )
    def test_a_default_of_the_wrong_type_is_told_at_once(self, kind: str, default: str | int | float) -> None:
        with pytest.raises(ConfigError, match="column 'x': default is not a"):
            make_decoder(contract(Column(name="x", type=kind, default=default)))


class TestPath:
    FIELD = Column(name="field", type="int4", path="p.q.x", default=7)

    def test_missing_or_null_on_the_way_is_absent(self) -> None:
        values: list[bytes | None] = [b"{}", b'{"p":null}', b'{"p":{}}', b'{"p":{"q":null}}', b'{"p":{"q":{"x":1}}}']
        assert decoded(values, self.FIELD).columns.column(0).to_pylist() == [7, 7, 7, 7, 1]

    def test_wrong_types_on_the_way_name_the_column(self) -> None:
        rows = decoded([b'{"p":5}', b'{"p":{"q":[]}}', b'{"p":{"q":{"x":"1"}}}'], self.FIELD)
        assert [(letter.column, letter.reason) for letter in rows.dead] == [
            ("field", "expected object, got int"),
            ("field", "expected object, got array"),
            ("field", "expected int, got str"),
        ]

    def test_a_required_field_makes_its_objects_required(self) -> None:
        need = Column(name="need", type="text", path="p.need", required=True)
        rows = decoded([b"{}", b'{"p":{}}', b'{"p":{"need":"x"}}'], need, Column(name="y", type="text", path="p.y"))
        assert [(letter.column, letter.reason) for letter in rows.dead] == [("need", "missing"), ("need", "missing")]
        assert rows.columns.to_pylist() == [{"need": "x", "y": None}]

    def test_columns_keep_table_order_and_odd_names(self) -> None:
        one = Column(name="select", type="int4", path="o.b")
        two = Column(name="a b.c`", type="int4")
        rows = decoded([b'{"a b.c`":2,"o":{"b":1}}', b'{"a b.c`":"x"}'], one, two)
        assert rows.columns.to_pylist() == [{"select": 1, "a b.c`": 2}]
        assert rows.dead[0].column == "a b.c`"

    @pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "a.b"), ("a.b", "a")])
    def test_two_columns_cannot_read_the_same_field(self, one: str, other: str) -> None:
        columns = Column(name="x", type="jsonb", path=one), Column(name="y", type="jsonb", path=other)
        with pytest.raises(ConfigError, match="read the same field"):
            make_decoder(contract(*columns))


NUMBERS = ["int2", "int4", "int8", "float4", "float8", "numeric(10,2)", "numeric(38,38)"]
OTHERS = ["text", "varchar(3)", "bool", "uuid", "timestamptz", "timestamp", "date", "time", "jsonb", "bytea"]
EVERY_TYPE = [
    Column(name=kind, type=kind, epoch="s" if kind.startswith("timestamp") else None)
    for scalar in NUMBERS + OTHERS
    for kind in (scalar, scalar + "[]")
]
DECODE_ALL = make_decoder(contract(*EVERY_TYPE))

EDGES = [
    *("2025-02-30", "2024-02-29", "9999-12-31T23:59:59-01:00", "12:30", "24:00", "0" * 32, "aGk=", "null", "\0", "😀"),
    *(
        "NaN",
        "1e400",
        "1e-400",
        "-0",
        "1.005",
        "7" * 40,
        0,
        -0.0,
        1e39,
        1e-60,
        1.005,
        2**15,
        2**31,
        2**63,
        10**40,
        True,
    ),
    *(None, [], {}, [None], [1, "1"], [[1]], {"k\0": 1}, "text"),
]
VALUES = st.sampled_from(EDGES) | st.text(max_size=5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)


def encodable(document: object) -> bytes:
    try:
        return msgspec.json.encode(document)
    except UnicodeEncodeError:
        return b"\xff"


RECORDS = (
    st.none()
    | st.binary(max_size=40)
    | st.dictionaries(st.sampled_from([column.name for column in EVERY_TYPE]), VALUES, max_size=4).map(encodable)
)


@settings(deadline=None)
@given(st.lists(RECORDS, max_size=8))
def test_nothing_raises_and_every_record_ends_as_a_row_or_a_dead_letter(values: list[bytes | None]) -> None:
    chunk = chunk_of(values)
    rows = DECODE_ALL(chunk)
    rows.columns.validate(full=True)
    assert rows.columns.num_rows == len(rows.records)
    delivered = [record.offset() for record in rows.records] + [letter.offset for letter in rows.dead]
    assert sorted(delivered) == [record.offset() for record in chunk.records]
    # The fate of a record does not depend on its neighbours.
    alone = [DECODE_ALL(chunk_of([value])) for value in values]
    assert [row for one in alone for row in map(str, one.columns.to_pylist())] == list(
        map(str, rows.columns.to_pylist())
    )
    assert [letter.reason for one in alone for letter in one.dead] == [letter.reason for letter in rows.dead]
