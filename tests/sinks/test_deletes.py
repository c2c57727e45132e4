"""Deletes, soft and hard, end as if every change had come alone; an older upsert never brings a deleted row back."""

import threading
from typing import Any

import psycopg
import pytest

from ingestd.batch import Counts
from ingestd.errors import Halt
from ingestd.sinks.postgres.versions import forget_deleted
from tests.sinks.changes import changes_of, counted, on_disk, one_by_one, rewind, rows_of
from tests.sinks.contracts import MemoryRecord, ask, decoded, records_of

_COLUMNS: dict[str, Any] = {"id": "text", "ts": "int8", "v": "text", "op": {"type": "text", "stored": False}}
_SOFT: dict[str, Any] = {"when": {"op": "d"}, "how": "soft", "mark": "gone"}
_HARD: dict[str, Any] = {"when": {"op": "d"}, "how": "hard"}


def _put(key: str, ts: int, v: str | None = "v") -> dict[str, Any]:
    return {"id": key, "ts": ts, "v": v, "op": "u"}


def _drop(key: str, ts: int, **more: Any) -> dict[str, Any]:
    return {"id": key, "ts": ts, "op": "d", **more}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("version", ["offset", "ts"])
def test_insert_delete_insert_of_one_key_leaves_the_last(upserts: Any, version: str, together: bool) -> None:
    bench = upserts(changes_of(_COLUMNS, version=version, delete=_HARD))
    changes = [_put("a", 1, "x"), _drop("a", 2), _put("a", 3, "z"), _put("b", 1), _drop("b", 2), _drop("c", 1)]
    bench.commit(changes) if together else one_by_one(bench, changes)
    assert rows_of(bench, "id", "v") == [("a", "z")]
    if together:
        assert counted(bench) == Counts(records=6, inserted=1, deleted=2, folded=3)
    else:
        assert counted(bench) == Counts(records=6, inserted=3, deleted=3)


@pytest.mark.parametrize("together", [True, False])
def test_older_upsert_never_brings_a_deleted_row_back(upserts: Any, together: bool) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_HARD))
    changes = [_put("a", 1), _drop("a", 5), _put("a", 3), _drop("b", 5), _put("b", 4), _put("c", 9), _drop("c", 2)]
    bench.commit(changes) if together else one_by_one(bench, changes)
    assert rows_of(bench, "id", "ts") == [("c", 9)]


def test_tombstone_deletes_by_the_key_of_the_record(upserts: Any) -> None:
    bench = upserts(changes_of({"id": "text", "v": "text"}, delete={"tombstone": True, "how": "hard"}))
    bench.commit([{"id": "a", "v": "x"}, {"id": "b", "v": "x"}])
    bench.commit_rows(decoded(bench.pipeline, [MemoryRecord(None, 2, key_bytes=b"a")]))
    assert rows_of(bench, "id") == [("b",)]
    assert counted(bench) == Counts(records=3, inserted=2, deleted=1)


def test_soft_delete_keeps_the_row_and_what_the_record_does_not_say(upserts: Any) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_SOFT))
    one_by_one(bench, [_put("a", 1, "x"), _drop("a", 2), _put("b", 1, "x"), _drop("b", 2, v=None)])
    assert rows_of(bench, "id", "ts", "v", "gone") == [("a", 2, "x", True), ("b", 2, None, True)]
    one_by_one(bench, [_put("a", 1, "old"), _put("b", 3, "back")], 4)
    assert rows_of(bench, "id", "ts", "v", "gone") == [("a", 2, "x", True), ("b", 3, "back", False)]
    assert counted(bench) == Counts(records=6, inserted=2, updated=1, deleted=2, stale=1)


@pytest.mark.parametrize("stored", [1, 3, 9])
def test_soft_delete_behind_a_stale_upsert_keeps_the_stored_fields(upserts: Any, stored: int) -> None:
    together = upserts(changes_of(_COLUMNS, version="ts", delete=_SOFT))
    alone = upserts(changes_of(_COLUMNS, version="ts", delete=_SOFT, name="q", table="u"))
    changes = [_put("a", 2, "two"), _drop("a", 4)]
    one_by_one(alone, [_put("a", stored, "stored"), *changes])
    together.commit([_put("a", stored, "stored")])
    together.commit(changes, 1)
    assert rows_of(together, "id", "ts", "v", "gone") == rows_of(alone, "id", "ts", "v", "gone")


def test_soft_delete_of_an_unknown_key_leaves_a_row_that_stops_older_upserts(upserts: Any) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_SOFT))
    one_by_one(bench, [_drop("a", 5), _put("a", 3)])
    assert rows_of(bench, "id", "ts", "v", "gone") == [("a", 5, None, True)]
    assert counted(bench) == Counts(records=2, inserted=1, stale=1)


def test_soft_delete_without_what_a_row_needs_is_a_delete_without_effect(upserts: Any) -> None:
    columns = {**_COLUMNS, "v": {"type": "text", "required": True}}
    bench = upserts(changes_of(columns, version="ts", delete=_SOFT))
    bench.commit([_drop("a", 5), _put("b", 1), _put("c", 1)])
    bench.commit([_drop("b", 5), _drop("d", 5)], 3)
    assert rows_of(bench, "id", "v", "gone") == [("b", "v", True), ("c", "v", False)]
    assert counted(bench) == Counts(records=5, inserted=2, deleted=3)


@pytest.mark.parametrize("delete", [_SOFT, _HARD], ids=["soft", "hard"])
@pytest.mark.parametrize("version", ["offset", "ts"])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_rewind_with_deletes_writes_nothing(upserts: Any, delete: Any, version: str, size: int) -> None:
    bench = upserts(changes_of(_COLUMNS, version=version, delete=delete))
    changes = [_drop("abc"[n % 3], n // 4) if n % 4 == 2 else _put("abc"[n % 3], n // 4, f"v{n}") for n in range(14)]
    for start in range(0, 14, 3):
        bench.commit(changes[start : start + 3], start)
    tables = ["t", *(["ingestd.versions_p"] if delete is _HARD else [])]
    before = [on_disk(bench, table) for table in tables]
    rewind(bench)
    for start in range(0, 14, size):
        bench.commit(changes[start : start + size], start)
    assert [on_disk(bench, table) for table in tables] == before
    again = counted(bench)
    assert again.stale + again.folded == again.records == 14


@pytest.mark.parametrize("how", [_SOFT, _HARD], ids=["soft", "hard"])
def test_absent_field_after_a_delete_is_kept_only_where_the_row_stayed(upserts: Any, how: Any) -> None:
    columns = {**_COLUMNS, "v": {"type": "text", "keep_when_absent": True}}
    changes = [_put("a", 1, "x"), _drop("a", 2), {"id": "a", "ts": 3, "op": "u"}]
    for bench, cut in (
        (upserts(changes_of(columns, delete=how)), 3),
        (upserts(changes_of(columns, delete=how, name="q", table="u")), 1),
    ):
        for start in range(0, 3, cut):
            bench.commit(changes[start : start + cut], start)
        assert rows_of(bench, "id", "v") == [("a", "x" if how is _SOFT else None)]


def test_stale_delete_in_a_batch_resets_nothing(upserts: Any) -> None:
    """delete v3 and a partial upsert v6 in one batch, behind a stored v5: the delete never happened."""
    columns = {**_COLUMNS, "v": {"type": "text", "keep_when_absent": True}}
    bench = upserts(changes_of(columns, version="ts", delete=_HARD))
    bench.commit([_put("a", 5, "five")])
    bench.commit([_drop("a", 3), {"id": "a", "ts": 6, "op": "u"}], 1)
    assert rows_of(bench, "id", "ts", "v") == [("a", 6, "five")]
    assert counted(bench) == Counts(records=3, inserted=1, updated=1, stale=1)


def test_rows_from_before_the_memory_are_guarded_by_their_own_version(upserts: Any, database: str) -> None:
    ask(
        database,
        "CREATE TABLE t (id text PRIMARY KEY, ts int8, v text);INSERT INTO t VALUES ('a', 7, 'seed'), ('b', 7, 'seed')",
    )
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_HARD))
    bench.commit([_put("a", 5, "old"), _drop("b", 6)])
    assert rows_of(bench, "id", "v") == [("a", "seed"), ("b", "seed")]
    assert counted(bench) == Counts(records=2, stale=2)
    bench.commit([_put("a", 8, "new"), _drop("b", 8)], 2)
    assert rows_of(bench, "id", "v") == [("a", "new")]


def test_refused_row_leaves_nothing_in_the_memory(upserts: Any, database: str) -> None:
    ask(database, "CREATE TABLE t (id text PRIMARY KEY, ts int8, v text CHECK (v <> 'bad'))")
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_HARD))
    bench.commit([_put("a", 9, "bad"), _put("b", 1, "b"), _put("c", 1, "c"), _drop("c", 2)])
    bench.commit([_put("a", 3, "mended")], 4)
    assert rows_of(bench, "id", "v") == [("a", "mended"), ("b", "b")]
    assert bench.dead() == [(0, "23514")]


def test_forgotten_delete_lets_an_older_upsert_back_and_a_fresh_one_does_not(upserts: Any, database: str) -> None:
    bench = upserts(changes_of(_COLUMNS, version="ts", delete=_HARD))
    bench.commit([_put("a", 1), _put("live", 1), _drop("a", 5)])
    with psycopg.connect(database) as connection:
        assert forget_deleted(connection, "p", 3600) == 0
        assert forget_deleted(connection, "no such pipeline", 0) == 0
        bench.commit([_put("a", 2)], 3)
        assert rows_of(bench, "id") == [("live",)]
        assert forget_deleted(connection, "p", 0) == 1
    bench.commit([_put("a", 2), _put("live", 0)], 4)
    assert rows_of(bench, "id", "ts") == [("a", 2), ("live", 1)]


def test_memory_of_another_key_halts_and_says_what_to_do(upserts: Any, database: str) -> None:
    upserts(changes_of(_COLUMNS, version="ts", delete=_HARD)).commit([_put("a", 1)])
    other = upserts(changes_of(_COLUMNS, version="offset", delete=_HARD))
    with pytest.raises(Halt, match="was made for another key or version"):
        other.commit([_put("a", 1)], 1)


@pytest.mark.parametrize("first", ["delete", "upsert"])
def test_delete_and_older_upsert_at_the_same_moment_leave_no_row(upserts: Any, database: str, first: str) -> None:
    """Two workers, both in their transaction at once; the one-statement form of this let the older upsert back in."""
    pipeline = changes_of(_COLUMNS, version="ts", delete=_HARD)
    workers = {"delete": upserts(pipeline, (0,)), "upsert": upserts(pipeline, (1,))}
    workers["delete"].commit([_put("K", 1)])
    changes = {"delete": (_drop("K", 5), 1, 0), "upsert": (_put("K", 3, "old"), 0, 1)}
    second = "upsert" if first == "delete" else "delete"

    def tell(who: str) -> None:
        change, offset, partition = changes[who]
        rows = decoded(pipeline, records_of([change], offset, partition))
        bench = workers[who]
        batch = bench.writer.prepare([rows])
        bench.writer.commit(batch)

    bench = workers[first]
    change, offset, partition = changes[first]
    rows = decoded(pipeline, records_of([change], offset, partition))
    sink = bench.sink
    sink.attach(bench.store.open())
    waiter = threading.Thread(target=tell, args=(second,))
    with bench.store.transaction(rows.tiles, bench.writer.epochs) as tx:
        sink.write(sink.prepare(rows), tx, sink.ways()[0])
        waiter.start()
        _until_someone_waits_for_a_lock(database)
    waiter.join(20)
    assert not waiter.is_alive()
    assert rows_of(bench, "id", "ts") == []


def _until_someone_waits_for_a_lock(database: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    query = f"SELECT pg_sleep(0.01), ({waiting})"
    for _ in range(2000):
        if ask(database, query)[0][1]:
            return
    raise AssertionError("nobody waited for the other")
