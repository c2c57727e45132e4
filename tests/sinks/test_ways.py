"""Which way a batch takes into a table, and what is in the table then."""

from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import pytest

from ingestd.batch import Tile
from ingestd.errors import Halt
from ingestd.sinks.ladder import Ladder, Way
from ingestd.stores.faults import RowFault
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import MemoryRecord, ask, decoded

_DDL = "CREATE TABLE orders (id text PRIMARY KEY, v int)"
_COLUMNS = {"id": "text", "v": "int4"}


def _fault(sqlstate: str, at_commit: bool = False) -> RowFault:
    return RowFault(sqlstate, "why", at_commit)


def test_new_keys_go_directly_and_a_duplicate_through_staging(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    writer.commit([{"id": "b"}, {"id": "a"}])
    assert writer.sink.tried == [Way.DIRECT]
    writer.commit([{"id": "a"}, {"id": "c"}], 2)
    assert writer.sink.tried == [Way.DIRECT, Way.DIRECT, Way.STAGED]
    assert writer.column() == ["a", "b", "c"]
    assert [counts[0].duplicates for counts in writer.seen.counts] == [0, 1]
    assert writer.dead() == []


def test_failed_direct_copy_is_stayed_away_from_longer_each_time(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    for n in range(40):
        writer.commit([{"id": "same"}], n)
    direct = [n for n, way in enumerate(writer.sink.tried) if way is Way.DIRECT]
    pauses = [later - earlier for earlier, later in pairwise(direct[1:])]
    assert pauses == sorted(pauses) and pauses[-1] > 4 * pauses[0]


def test_direct_copy_comes_back_when_keys_are_new_again(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    for n, key in enumerate(["a", "a", "b", "c", "d", "e", "f"]):
        writer.commit([{"id": key}], n)
    assert writer.seen.ways[-1] is Way.DIRECT


def test_ladder_skips_ways_that_cannot_help() -> None:
    every = Ladder(tuple(Way))
    assert every.next(Way.DIRECT, _fault("23505")) is Way.STAGED
    assert every.next(Way.DIRECT, _fault("23514")) is Way.SIFTED
    assert every.next(Way.SIFTED, _fault("23505")) is Way.SCREENED
    assert every.next(Way.STAGED, _fault("23514")) is Way.SCREENED
    assert every.next(Way.SIFTED, _fault("23503")) is Way.LOOPED
    assert every.next(Way.DIRECT, _fault("22012")) is Way.LOOPED
    assert every.next(Way.STAGED, _fault("23505")) is Way.LOOPED
    assert every.next(Way.SCREENED, _fault("23514")) is Way.LOOPED
    assert every.next(Way.LOOPED, _fault("23514")) is None
    assert every.next(Way.DIRECT, _fault("23503", at_commit=True)) is None
    without = Ladder((Way.DIRECT, Way.LOOPED))
    assert without.next(Way.DIRECT, _fault("23505")) is Way.LOOPED
    assert without.next(Way.DIRECT, _fault("23514")) is Way.LOOPED


def test_append_mode_takes_every_record_and_keeps_defaults_of_other_columns(bench: MakeBench) -> None:
    ddl = "CREATE TABLE orders (id text, v int, at timestamptz NOT NULL DEFAULT now(), kind text DEFAULT 'plain')"
    writer = bench(ddl, _COLUMNS, mode="append")
    writer.commit([{"id": "a"}, {"id": "a"}, {"id": None, "v": 3}])
    assert ask(writer.url, "SELECT id, v, at IS NOT NULL, kind FROM orders ORDER BY 1, 2") == [
        ("a", None, True, "plain"),
        ("a", None, True, "plain"),
        (None, 3, True, "plain"),
    ]


def test_append_into_a_table_with_a_unique_index_finds_the_refused_rows(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, mode="append")
    writer.commit([{"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": "c"}])
    assert writer.dead() == [(2, "23505")]
    assert writer.column() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uuid", [str(UUID(int=n * 2**100 + 5)) for n in (9, 1, 200, 4)]),
        ("int8", [-5, 2**60, 0, 7]),
        ("numeric(12,2)", ["10.00", "-0.01", "9.99", "100"]),
        (
            "timestamptz",
            ["2024-01-02T00:00:00Z", "1999-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2000-01-01T00:00:00Z"],
        ),
        ("date", ["2024-01-02", "1999-01-01", "2030-01-01", "2000-01-01"]),
        ("time", ["23:59:59", "00:00:00", "12:00:00", "06:00:00"]),
        ("bool", [True, False, True, False]),
        ("bytea", ["AA==", "/w==", "", "AAA="]),
        ("float8", [1.5, -2.5, 0.0, 1e300]),
    ],
)
def test_key_of_any_type_sees_duplicates_and_names_refused_rows(
    bench: MakeBench, kind: str, values: list[object]
) -> None:
    ddl = f"CREATE TABLE orders (region text, id {kind}, v int CHECK (v > 0), PRIMARY KEY (region, id))"
    writer = bench(ddl, {"region": "text", "id": kind, "v": "int4"}, key=("region", "id"))
    rows = [{"region": region, "id": value, "v": 1} for region in ("z", "a") for value in values]
    writer.commit([*rows, {**rows[0], "v": 0}, *rows[:3]])
    distinct = {(row["region"], str(row["id"])) for row in rows}
    assert ask(writer.url, "SELECT count(*) FROM orders") == [(len(distinct),)]
    assert writer.dead() == [(8, "23514")]


def test_arrays_that_only_staging_can_cast_arrive_whole(bench: MakeBench) -> None:
    ddl = "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz[], who uuid[], said jsonb[], short varchar(3)[])"
    writer = bench(
        ddl, {"id": "int4", "at": "timestamptz[]", "who": "uuid[]", "said": "jsonb[]", "short": "varchar(3)[]"}
    )
    who = UUID(int=77)
    value = {"at": ["2024-01-01T01:00:00+01:00", None], "who": [str(who)], "said": [{"a": 1}, None], "short": ["abc"]}
    writer.commit([{"id": 1, **value}, {"id": 2}, {"id": 1}])
    assert ask(writer.url, "SELECT at, who, said, short FROM orders ORDER BY id") == [
        ([datetime(2024, 1, 1, tzinfo=UTC), None], [who], [{"a": 1}, None], ["abc"]),
        (None, None, None, None),
    ]
    assert writer.seen.counts[0][0].duplicates == 1
    assert Way.DIRECT not in writer.sink.ways()


def test_table_is_created_from_the_declaration(bench: MakeBench) -> None:
    writer = bench("", {"id": "int4", "Select": "numeric(10,2)", "at": "timestamptz"}, create=True)
    writer.commit([{"id": 1, "Select": "1.005", "at": "2024-01-01T00:00:00Z"}, {"id": 2, "Select": "1.05"}])
    assert ask(writer.url, 'SELECT id, "Select"::text FROM orders') == [(2, "1.05")]
    assert writer.dead() == [(0, None)]


@pytest.mark.parametrize("time_ms", [-1, 0, 2**62, -(2**62), 253_402_300_800_000])
def test_dead_letter_of_any_record_time_is_kept(bench: MakeBench, time_ms: int) -> None:
    """The producer sets it, and may set anything."""
    writer = bench(_DDL, _COLUMNS)
    letter = MemoryRecord(b"bad", 0, time_ms=time_ms)
    writer.commit_rows(decoded(writer.pipeline, [letter, MemoryRecord(b'{"id":"a"}', 1)]))
    assert writer.dead() == [(0, None)]
    assert writer.column() == ["a"]


def test_dead_letter_keeps_bytes_key_and_headers_as_they_were(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    pairs: list[tuple[str, bytes | None]] = [("a", b"\x00\xff"), ("a", None), ("nu\x00l", b""), ("\ud800", b"x")]
    letters = [MemoryRecord(b"\x00\xffbad", 0, 0, b"\x00k", pairs), MemoryRecord(None, 1, 0, None, None)]
    writer.commit_rows(decoded(writer.pipeline, letters))
    rows = ask(
        writer.url,
        'SELECT payload, record_key, headers, stage, topic_id FROM ingestd.dead_letters ORDER BY "offset"',
    )
    assert rows[0][:2] == (b"\x00\xffbad", b"\x00k")
    assert [pair["base64"] for pair in rows[0][2]] == ["AP8=", None, "", "eA=="]
    assert rows[0][3:] == ("decode", "id")
    assert rows[1][:3] == (None, None, None)


def test_record_refused_again_after_a_rewind_replaces_its_letter(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    writer.commit([b"bad", {"id": "a"}])
    ask(writer.url, "UPDATE ingestd.cursors SET next_offset = 0")
    writer.commit([b"bad", {"id": "a"}])
    assert writer.dead() == [(0, None)]
    assert writer.column() == ["a"]


def test_empty_tile_moves_the_cursor(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    writer.commit_rows(decoded(writer.pipeline, [], [Tile(0, 0, 17)]))
    assert writer.cursor() == 17


def test_letter_that_cannot_be_written_halts_in_one_readable_line(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    ask(writer.url, "ALTER TABLE ingestd.dead_letters ADD CHECK (payload IS NULL)")
    with pytest.raises(Halt, match='orders-0 offset 1: 23514: new row for relation "dead_letters"') as halt:
        writer.commit([{"id": "a"}, b"bad", {"id": "b"}])
    assert "RowFault" not in str(halt.value)
    assert writer.column() == ["a"]


def test_repeated_key_beside_a_refused_row_goes_the_patient_way(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0))", _COLUMNS)
    writer.commit([{"id": "a", "v": 1}, {"id": "b", "v": -1}, {"id": "c", "v": 1}])
    writer.commit([{"id": "c", "v": 2}, {"id": "d", "v": -2}, {"id": "e", "v": 3}], 3)
    assert writer.seen.ways == [Way.SIFTED, Way.SCREENED]
    assert ask(writer.url, "SELECT id, v FROM orders ORDER BY id") == [("a", 1), ("c", 1), ("e", 3)]
    assert writer.dead() == [(1, "23514"), (4, "23514")]
