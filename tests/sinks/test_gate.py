"""The gate: a key comes through once, whoever brings it, and a refused record leaves no key behind."""

import itertools
from typing import Any

import pytest

from ingestd.batch import Tile
from ingestd.errors import Halt
from ingestd.rows import join
from ingestd.sinks.ladder import Way
from ingestd.sinks.postgres.gate import MAX_KEY_BYTES
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import Bench, ask, decoded, records_of

_COLUMNS = {"id": "text", "event": "text", "v": "int4"}
_DDL = "CREATE TABLE orders (id text PRIMARY KEY, event text, v int CHECK (v > 0))"
_GATE: dict[str, Any] = {"dedupe": {"table": "seen", "key": "event", "create": True}}


def _value(row: int, event: str, v: int = 1) -> dict[str, Any]:
    return {"id": f"{row:04}", "event": event, "v": v}


def _counts(writer: Bench) -> tuple[int, ...]:
    """(delivered, inserted, duplicate, dead) over all partitions, as the ledger has them."""
    asked = "SELECT sum(records)::int, sum(inserted)::int, sum(duplicates)::int, sum(dead)::int FROM ingestd.cursors"
    return tuple(ask(writer.url, asked)[0])


def _seen(writer: Bench) -> list[Any]:
    return ask(writer.url, 'SELECT event, topic, partition, "offset" FROM seen ORDER BY 1')


def test_duplicate_in_a_batch_is_not_written_twice(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(2, "b"), _value(1, "a"), _value(3, "a"), _value(4, "b"), _value(5, "c")])
    assert writer.column() == ["0001", "0002", "0005"]
    assert _seen(writer) == [("a", "orders", 0, 1), ("b", "orders", 0, 0), ("c", "orders", 0, 4)]
    assert _counts(writer) == (5, 3, 2, 0)


def test_duplicate_of_an_earlier_batch_is_not_written(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(1, "a"), _value(2, "b")])
    writer.commit([_value(3, "b"), _value(4, "c"), _value(5, "a")], 2)
    assert writer.column() == ["0001", "0002", "0004"]
    assert _counts(writer) == (5, 3, 2, 0)
    writer.commit([_value(6, "c"), _value(7, "c")], 5)
    assert writer.column() == ["0001", "0002", "0004"]
    assert (writer.cursor(), _counts(writer)) == (7, (7, 3, 4, 0))


def test_duplicate_across_partitions_is_not_written_twice(bench: MakeBench) -> None:
    """In one batch the lower partition is the first; across batches, who comes first."""
    writer = bench(_DDL, _COLUMNS, (0, 1), **_GATE)
    rows = join(
        [
            decoded(writer.pipeline, records_of([_value(1, "a"), _value(2, "b")], 0, 1)),
            decoded(writer.pipeline, records_of([_value(3, "b"), _value(4, "a")], 0, 0)),
        ]
    )
    writer.commit_rows(rows)
    assert writer.column() == ["0003", "0004"]
    assert _seen(writer) == [("a", "orders", 0, 1), ("b", "orders", 0, 0)]
    writer.commit([_value(5, "b"), _value(6, "c")], 2, 1)
    assert writer.column() == ["0003", "0004", "0006"]
    assert _counts(writer) == (6, 3, 3, 0)


def test_duplicate_across_pipelines_that_share_the_gate_is_not_written_twice(bench: MakeBench) -> None:
    one = bench(_DDL, _COLUMNS, **_GATE)
    one.commit([_value(1, "a")])
    other = bench("", _COLUMNS, name="other", topic="returns", **_GATE)
    other.commit([_value(2, "a"), _value(3, "b")])
    assert one.column() == ["0001", "0003"]
    assert _seen(one) == [("a", "orders", 0, 0), ("b", "returns", 0, 1)]


def test_replay_adds_nothing(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, mode="append", **_GATE)
    values = [_value(n, f"e{n % 40}", -1 if n % 10 == 3 else 1) for n in range(100)]
    for start in range(0, 100, 25):
        writer.commit(values[start : start + 25], start)
    before = ask(writer.url, "SELECT * FROM orders ORDER BY id"), _seen(writer), writer.dead()
    ask(writer.url, "UPDATE ingestd.cursors SET next_offset = 0")
    for start in range(0, 100, 50):
        writer.commit(values[start : start + 50], start)
    assert (ask(writer.url, "SELECT * FROM orders ORDER BY id"), _seen(writer), writer.dead()) == before
    assert len(before[0]) == 36


@pytest.mark.parametrize("direct", [True, False])
def test_dead_letter_leaves_no_key(bench: MakeBench, direct: bool) -> None:
    writer = bench(_DDL, _COLUMNS, direct=direct, **_GATE)
    writer.commit([_value(1, "a"), _value(2, "b", -1), _value(3, "c")])
    assert writer.dead() == [(1, "23514")]
    assert [row[0] for row in _seen(writer)] == ["a", "c"]
    assert writer.column() == ["0001", "0003"]


def test_mended_record_is_not_dropped(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(1, "a", -1), b'{"event": "b"', _value(2, "c")])
    writer.commit([_value(1, "a", 7), _value(3, "b"), _value(4, "c")], 3)
    assert writer.column() == ["0001", "0002", "0003"]
    assert writer.dead() == [(0, "23514"), (1, None)]
    assert _counts(writer) == (6, 3, 1, 2)


def test_good_repeat_of_a_refused_record_in_its_batch_is_not_dropped(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(1, "a", -1), _value(2, "b"), _value(1, "a", 5), _value(9, "a", 6)])
    assert ask(writer.url, "SELECT id, v FROM orders ORDER BY id") == [("0001", 5), ("0002", 1)]
    assert writer.dead() == [(0, "23514")]
    assert _seen(writer) == [("a", "orders", 0, 2), ("b", "orders", 0, 1)]
    assert _counts(writer) == (4, 2, 1, 1)


def test_bad_record_sent_many_times_does_not_redo_the_batch_for_each(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit(
        [_value(n, "x" if n % 2 else f"e{n}", -1 if n % 2 else 1) | {"id": f"{n % 2 or n}"} for n in range(400)]
    )
    assert writer.dead() == [(n, "23514") for n in range(1, 400, 2)]
    assert len(writer.column()) == 200
    assert len(writer.sink.tried) <= 4


def test_different_bad_records_of_one_key_are_all_found(bench: MakeBench) -> None:
    """More of them than rounds over one batch: then it is split, so that the rounds are over fewer records."""
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([*[_value(n, "x", -n) for n in range(100)], _value(100, "x"), _value(101, "y"), _value(102, "x")])
    assert writer.dead() == [(n, "23514") for n in range(100)]
    assert writer.column() == ["0100", "0101"]
    assert (writer.cursor(), _counts(writer)) == (103, (103, 2, 1, 100))
    assert len(writer.seen.tiles) > 4


def test_decode_dead_letter_never_reaches_the_gate(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([b'{"id": "1", "event": "a", "v": "many"}', b'{"id": "2", "event": "a", "v": 1}'])
    assert _seen(writer) == [("a", "orders", 0, 1)]
    assert writer.dead() == [(0, None)]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", ["", "é", "e\u0301", "Z", "a", "\U0001f600", "x" * MAX_KEY_BYTES]),
        ("varchar(3)", ["", "é", "abc"]),
        ("int8", [-(2**63), -1, 0, 2**63 - 1]),
        ("numeric(10,2)", ["0.10", "-0.01", "99999999.99"]),
        ("uuid", [f"{n:08x}-0000-0000-0000-000000000000" for n in (0, 1, 2**32 - 1)]),
        ("timestamptz", ["2024-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z"]),
        ("date", ["2024-02-29", "0001-01-01"]),
        ("bool", [True, False]),
        ("float8", [0.1, -1e300]),
        ("bytea", ["AA==", "/w=="]),
    ],
)
def test_key_of_any_type_comes_through_once(bench: MakeBench, kind: str, values: list[Any]) -> None:
    writer = bench(
        "CREATE TABLE orders (id text, event " + kind + ")", {"id": "text", "event": kind}, mode="append", **_GATE
    )
    rows = [{"id": str(n), "event": value} for n, value in enumerate([*values, *reversed(values)])]
    writer.commit(rows)
    writer.commit(rows, len(rows))
    assert len(writer.column()) == len(values)
    assert _counts(writer) == (len(rows) * 2, len(values), len(rows) * 2 - len(values), 0)


def test_key_of_several_columns_is_one_key(bench: MakeBench) -> None:
    gate = {"dedupe": {"table": "seen", "key": ["event", "v"], "create": True}}
    writer = bench("CREATE TABLE orders (id text, event text, v int)", _COLUMNS, mode="append", **gate)
    values = [_value(n, event, v) for n, (event, v) in enumerate(itertools.product("aba", (1, 2, 1)))]
    writer.commit(values[:5])
    writer.commit(values[5:], 5)
    assert writer.column() == ["0000", "0001", "0003", "0004"]


def test_key_longer_than_an_index_entry_costs_one_record(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id text, event text)", {"id": "text", "event": "text"}, mode="append", **_GATE)
    writer.commit([{"id": str(n), "event": f"{n}" + "é" * (1300 if n % 50 == 7 else 5)} for n in range(200)])
    assert writer.dead() == [(n, "54000") for n in range(7, 200, 50)]
    assert len(writer.column()) == 196
    assert writer.seen.ways == [Way.DIRECT]


def test_retry_in_the_next_way_counts_every_record_once(bench: MakeBench) -> None:
    """Table keys that are there although their gate keys are new send the batch down the ladder."""
    writer = bench(_DDL, _COLUMNS, **_GATE)
    ask(writer.url, "INSERT INTO orders VALUES ('0003', 'old', 1)")
    writer.commit([_value(1, "a"), _value(2, "a"), _value(3, "b"), _value(4, "c", -1), _value(5, "d")])
    assert writer.sink.tried[0] is Way.DIRECT and len(writer.sink.tried) > 2
    assert writer.column() == ["0001", "0003", "0005"]
    assert [row[0] for row in _seen(writer)] == ["a", "b", "d"]
    assert _counts(writer) == (5, 2, 2, 1)


def test_refusal_that_only_commit_raises_leaves_no_key(bench: MakeBench) -> None:
    ddl = (
        "CREATE TABLE kinds (w text PRIMARY KEY); INSERT INTO kinds VALUES ('a'), ('b');"
        "CREATE TABLE orders (id text PRIMARY KEY, event text, w text REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)"
    )
    writer = bench(ddl, {"id": "text", "event": "text", "w": "text"}, **_GATE)
    rows = [{"id": str(n), "event": f"e{n}", "w": "z" if n == 5 else "a"} for n in range(20)]
    writer.commit([*rows, {"id": "x", "event": "e5", "w": "b"}])
    assert writer.dead() == [(5, "23503")]
    assert len(writer.column()) == 20
    assert ("e5", "orders", 0, 20) in _seen(writer)


def test_rolled_back_batch_leaves_no_key(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(1, "a")])
    ask(writer.url, "ALTER TABLE ingestd.cursors RENAME COLUMN duplicates TO hidden")
    with pytest.raises(Halt):
        writer.commit([_value(2, "b")], 1)
    ask(writer.url, "ALTER TABLE ingestd.cursors RENAME COLUMN hidden TO duplicates")
    assert [row[0] for row in _seen(writer)] == ["a"]
    writer.commit([_value(2, "b")], 1)
    assert writer.column() == ["0001", "0002"]


def test_empty_tile_moves_the_cursor_behind_a_gate(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit_rows(decoded(writer.pipeline, [], [Tile(0, 0, 9)]))
    assert writer.cursor() == 9


def test_batch_of_duplicates_alone_moves_the_cursor(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS, **_GATE)
    writer.commit([_value(1, "a")])
    writer.commit([_value(2, "a"), _value(3, "a")], 1)
    assert (writer.cursor(), writer.column()) == (3, ["0001"])


def test_table_with_only_the_key_keeps_duplicates_out(bench: MakeBench) -> None:
    ddl = _DDL + "; CREATE TABLE seen (event varchar PRIMARY KEY, note text DEFAULT 'x')"
    writer = bench(ddl, _COLUMNS, dedupe={"table": "seen", "key": "event"})
    writer.commit([_value(1, "a"), _value(2, "b"), _value(3, "a"), _value(4, "d", -1)])
    writer.commit([_value(5, "b"), _value(6, "c"), _value(7, "d")], 4)
    assert writer.column() == ["0001", "0002", "0006", "0007"]
    assert writer.column("event", "seen") == ["a", "b", "c", "d"]
    assert _counts(writer) == (7, 4, 2, 1)
