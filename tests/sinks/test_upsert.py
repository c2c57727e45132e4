"""One row for each key: nothing older overwrites it, however often a key comes, and whatever else is refused."""

from typing import Any

import pytest

from ingestd.batch import Counts
from ingestd.sinks.ladder import Way
from tests.sinks.changes import changes_of, commit_records, counted, on_disk, one_by_one, rewind, rows_of
from tests.sinks.contracts import ask, records_of

_COLUMNS = {"id": "text", "ts": "int8", "v": "text"}


def _change(key: str, ts: int | None, v: str) -> dict[str, Any]:
    return {"id": key, "ts": ts, "v": v}


def test_key_many_times_in_one_batch_is_no_error_and_the_last_wins(upserts: Any) -> None:
    bench = upserts(changes_of(_COLUMNS))
    bench.commit([_change("a", n, f"v{n}") for n in range(5)] + [_change("b", 0, "b")])
    assert rows_of(bench, "id", "v") == [("a", "v4"), ("b", "b")]
    assert counted(bench) == Counts(records=6, inserted=2, folded=4)
    bench.commit([_change("a", n, f"w{n}") for n in range(3)], 6)
    assert rows_of(bench, "id", "v") == [("a", "w2"), ("b", "b")]
    assert counted(bench) == Counts(records=9, inserted=2, updated=1, folded=6)


@pytest.mark.parametrize("together", [True, False])
def test_older_record_never_overwrites_a_newer_row(upserts: Any, together: bool) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts"))
    changes = [_change("a", 5, "new"), _change("a", 3, "old"), _change("a", None, "oldest"), _change("a", 4, "old")]
    bench.commit(changes) if together else one_by_one(bench, changes)
    assert rows_of(bench, "id", "ts", "v") == [("a", 5, "new")]
    assert counted(bench) == Counts(records=4, inserted=1, **({"folded": 3} if together else {"stale": 3}))


@pytest.mark.parametrize("together", [True, False])
def test_of_equal_versions_the_later_offset_stays(upserts: Any, together: bool) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts"))
    changes = [_change("a", 5, "first"), _change("a", 5, "second"), _change("b", None, "x"), _change("b", None, "y")]
    bench.commit(changes) if together else one_by_one(bench, changes)
    assert rows_of(bench, "id", "v") == [("a", "second"), ("b", "y")]


@pytest.mark.parametrize("together", [True, False])
def test_later_columns_decide_only_where_the_first_versions_are_equal(upserts: Any, together: bool) -> None:
    bench = upserts(changes_of({"id": "text", "day": "date", "n": "numeric(6,2)"}, version=("day", "n")))
    changes = [
        {"id": "a", "day": "2026-01-02", "n": 1},
        {"id": "a", "day": "2026-01-01", "n": 9},
        {"id": "a", "day": "2026-01-02", "n": 10.5},
        {"id": "a", "day": "2026-01-02", "n": 9.75},
        {"id": "a", "day": None, "n": 99},
        {"id": "a", "day": "2026-01-02", "n": None},
    ]
    bench.commit(changes) if together else one_by_one(bench, changes)
    assert str(rows_of(bench, "n")[0][0]) == "10.50"


def test_text_versions_compare_by_their_bytes_not_by_the_collation(upserts: Any) -> None:
    bench = upserts(changes_of({"id": "text", "ver": "text"}, version="ver"))
    one_by_one(
        bench, [{"id": "a", "ver": "b"}, {"id": "a", "ver": "C"}, {"id": "b", "ver": "C"}, {"id": "b", "ver": "b"}]
    )
    assert rows_of(bench, "id", "ver") == [("a", "b"), ("b", "b")]


@pytest.mark.parametrize("version", ["offset", "ts"])
@pytest.mark.parametrize("size", [1, 2, 100])
def test_rewind_to_the_beginning_writes_nothing(upserts: Any, version: str, size: int) -> None:
    bench = upserts(changes_of(_COLUMNS, version=version))
    changes = [_change("abc"[n % 3], n // 4, f"v{n}") for n in range(10)]
    for start in range(0, 10, 3):
        bench.commit(changes[start : start + 3], start)
    before = on_disk(bench)
    rewind(bench)
    for start in range(0, 10, size):
        bench.commit(changes[start : start + size], start)
    assert on_disk(bench) == before
    again = counted(bench)  # of the range that the rewind began
    assert (again.records, again.inserted, again.updated, again.stale + again.folded) == (10, 0, 0, 10)


@pytest.mark.parametrize("version", ["offset", "ts"])
def test_batch_across_the_end_of_a_replay_applies_only_what_is_new(upserts: Any, version: str) -> None:
    bench = upserts(changes_of(_COLUMNS, version=version))
    bench.commit([_change("a", 1, "a"), _change("b", 1, "b")])
    rewind(bench)
    bench.commit([_change("a", 1, "forged"), _change("b", 1, "forged"), _change("b", 1, "new"), _change("c", 1, "c")])
    assert rows_of(bench, "id", "v") == [("a", "a"), ("b", "new"), ("c", "c")]


def test_field_that_is_absent_keeps_the_stored_value_and_null_does_not(upserts: Any) -> None:
    kept = {"type": "text", "keep_when_absent": True}
    bench = upserts(changes_of({"id": "text", "ts": "int8", "a": kept, "b": kept, "c": "text"}, version="ts"))
    bench.commit([{"id": "k", "ts": 1, "a": "a1", "b": "b1", "c": "c1"}, {"id": "n", "ts": 1, "a": "x"}])
    bench.commit([{"id": "k", "ts": 2, "a": None}, {"id": "n", "ts": 2, "b": "y", "c": "z"}], 2)
    assert rows_of(bench, "id", "a", "b", "c") == [("k", None, "b1", None), ("n", "x", "y", "z")]


@pytest.mark.parametrize("stored", [0, 3, 9])
def test_stale_record_contributes_nothing_to_a_merged_change(upserts: Any, stored: int) -> None:
    """The records of one key in a batch are merged; one of them may be older than the row and must stay out."""
    kept = {"type": "text", "keep_when_absent": True}
    columns: dict[str, Any] = {"id": "text", "ts": "int8", "a": kept, "b": kept}
    together, alone = (
        upserts(changes_of(columns, version="ts")),
        upserts(changes_of(columns, version="ts", name="q", table="u")),
    )
    first = {"id": "k", "ts": stored, "a": "a0", "b": "b0"}
    batch = [{"id": "k", "ts": 2, "a": "a2"}, {"id": "k", "ts": 4, "b": "b4"}, {"id": "k", "ts": 3, "a": "a3"}]
    one_by_one(alone, [first, *batch])
    together.commit([first])
    together.commit(batch, 1)
    assert rows_of(together, "id", "ts", "a", "b") == rows_of(alone, "id", "ts", "a", "b")


def test_refused_row_gives_its_place_to_the_earlier_record_of_its_key(upserts: Any, database: str) -> None:
    ask(database, "CREATE TABLE t (id text PRIMARY KEY, ts int8, v text CHECK (v <> 'bad'))")
    bench = upserts(changes_of(_COLUMNS, version="ts"))
    bench.commit([_change("a", 1, "good"), _change("a", 2, "bad"), _change("b", 1, "b"), _change("c", 1, "bad")])
    assert rows_of(bench, "id", "v") == [("a", "good"), ("b", "b")]
    assert bench.dead() == [(1, "23514"), (3, "23514")]
    assert counted(bench) == Counts(records=4, inserted=2, dead=2)


def test_refused_field_of_a_merged_change_costs_only_its_own_record(upserts: Any, database: str) -> None:
    ask(database, "CREATE TABLE t (id text PRIMARY KEY, ts int8, a text CHECK (a <> 'bad'), b text)")
    kept = {"type": "text", "keep_when_absent": True}
    bench = upserts(changes_of({"id": "text", "ts": "int8", "a": kept, "b": kept}, version="ts"))
    values = [{"id": "k", "ts": 1, "a": "ok"}, {"id": "k", "ts": 2, "a": "bad"}, {"id": "k", "ts": 3, "b": "x"}]
    bench.commit([*values, *({"id": f"z{n}", "ts": 1, "a": "a", "b": "b"} for n in range(60))])
    assert rows_of(bench, "id", "a", "b")[0] == ("k", "ok", "x")
    assert bench.dead() == [(1, "23514")]
    assert len(rows_of(bench, "id")) == 61


@pytest.mark.parametrize("whole", [True, False])
def test_refused_rows_never_cost_their_neighbours(upserts: Any, database: str, whole: bool) -> None:
    ask(database, "CREATE TABLE t (id text PRIMARY KEY, ts int8, v text, n int8 UNIQUE)")
    n: Any = "int8" if whole else {"type": "int8", "keep_when_absent": True}
    bench = upserts(changes_of({"id": "text", "ts": "int8", "v": "text", "n": n}))
    bench.commit([{"id": f"{i:03}", "ts": 1, "v": "v", "n": 50 if i == 77 else i} for i in range(120)])
    assert bench.dead() == [(77, "23505")]
    assert ask(database, "SELECT count(*), count(DISTINCT n) FROM t") == [(119, 119)]
    rewind(bench)
    before = on_disk(bench)
    bench.commit([{"id": f"{i:03}", "ts": 1, "v": "w", "n": 50 if i == 77 else i} for i in range(120)])
    assert on_disk(bench) == before


def test_several_partitions_in_one_batch_each_replay_from_their_own_offset(upserts: Any) -> None:
    bench = upserts(changes_of(_COLUMNS), (0, 1))
    first = [*records_of([_change("a", 1, "a")]), *records_of([_change("b", 1, "b")], 0, 1)]
    commit_records(bench, first)
    rewind(bench, 0, 1)
    commit_records(
        bench,
        [
            *records_of([_change("b", 2, "forged"), _change("c", 2, "c")], 0, 1),
            *records_of([_change("a", 2, "a2"), _change("d", 2, "d")], 1),
        ],
    )
    assert rows_of(bench, "id", "v") == [("a", "a2"), ("b", "b"), ("c", "c"), ("d", "d")]


def test_new_keys_go_by_copy_and_known_keys_through_staging(upserts: Any) -> None:
    bench = upserts(changes_of(_COLUMNS))
    bench.commit([_change("a", 1, "x")])
    bench.commit([_change("b", 1, "x")], 1)
    bench.commit([_change("b", 1, "y")], 2)
    assert bench.seen.ways == [Way.DIRECT, Way.DIRECT, Way.STAGED]


def test_table_of_nothing_but_its_key_takes_upserts(upserts: Any) -> None:
    bench = upserts(changes_of({"a": "int4", "b": "uuid"}, key=("a", "b")))
    change = {"a": 1, "b": "00000000-0000-0000-0000-00000000000f"}
    one_by_one(bench, [change, change])
    assert counted(bench) == Counts(records=2, inserted=1, updated=1)


def test_partitioned_table_counts_inserts_and_updates(upserts: Any, database: str) -> None:
    ask(
        database,
        "CREATE TABLE t (v text, id text, ts int8, PRIMARY KEY (id)) PARTITION BY HASH (id);"
        "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE t1 (ts int8, id text NOT NULL, v text);"
        "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )
    bench = upserts(changes_of(_COLUMNS, direct=False))
    bench.commit([_change(key, 1, "x") for key in "abcdef"])
    bench.commit([_change(key, 2, "y") for key in "efgh"], 6)
    assert counted(bench) == Counts(records=10, inserted=8, updated=2)


def test_arrays_and_columns_that_are_not_stored_go_through_staging(upserts: Any) -> None:
    columns: dict[str, Any] = {"id": "text", "at": "timestamptz[]", "aside": {"type": "text", "stored": False}}
    bench = upserts(changes_of(columns))
    one_by_one(
        bench, [{"id": "a", "at": ["2026-01-01T00:00:00Z"], "aside": "x"}, {"id": "a", "at": None, "aside": "y"}]
    )
    assert rows_of(bench, "id", "at") == [("a", None)]
