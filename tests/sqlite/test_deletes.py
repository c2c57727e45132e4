"""Deletes and partial upserts in an SQLite table, and what a replay of them changes: nothing."""

import random
from typing import Any

import msgspec
import pytest

from ingestd.config import options as cfg
from ingestd.sinks.sqlite.forget import forget_deleted
from tests.sqlite.bench import FileBench, ask
from tests.sqlite.conftest import MakeBench


def _pipeline(how: str, version: str = "v", **more: Any) -> cfg.Pipeline:
    columns = [
        {"name": "id", "type": "text", "required": True},
        {"name": "kind", "type": "text", "required": True, "stored": False},
        {"name": "a", "type": "text"},
        {"name": "b", "type": "text", "keep_when_absent": True},
        {"name": "v", "type": "int4"},
    ]
    delete = {"when": {"kind": "delete"}, "how": how, **more}
    return msgspec.convert(
        {
            "name": "p",
            "topic": "orders",
            "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
            "column": columns,
            "table": {
                "name": "orders",
                "mode": "upsert",
                "key": ["id"],
                "version": version,
                "create": True,
                "delete": delete,
            },
        },
        cfg.Pipeline,
    )


def _up(key: str, version: int, **fields: Any) -> dict[str, Any]:
    return {"id": key, "kind": "upsert", "v": version, **fields}


def _delete(key: str, version: int, **fields: Any) -> dict[str, Any]:
    return {"id": key, "kind": "delete", "v": version, **fields}


def _rows(writer: FileBench) -> list[Any]:
    return ask(writer.path, "SELECT * FROM orders ORDER BY id")


def test_soft_delete_without_a_part_of_the_version_does_not_keep_that_part_of_an_older_one(bench: MakeBench) -> None:
    pipeline = _pipeline("soft", mark="gone")
    table = msgspec.structs.replace(pipeline.table, version=("v", "a"))
    writer = bench("", msgspec.structs.replace(pipeline, table=table))
    writer.commit([_up("x", 1, a="2"), _delete("x", 2)])
    assert _rows(writer) == [("x", None, None, 2, 1)]
    writer.commit([_up("x", 2, a="1")], 2)  # later than (2, null), which the delete had
    assert _rows(writer) == [("x", "1", None, 2, 0)]


def test_soft_delete_keeps_the_row_and_the_fields_it_does_not_have(bench: MakeBench) -> None:
    writer = bench("", _pipeline("soft", mark="gone"))
    writer.commit([_up("x", 1, a="1", b="1"), _up("y", 1, a="1"), _delete("x", 2), _delete("new", 1, a="d")])
    writer.commit([_up("y", 0, a="late"), _delete("y", 0), _up("new", 2)], 4)
    assert _rows(writer) == [("new", None, None, 2, 0), ("x", "1", "1", 2, 1), ("y", "1", None, 1, 0)]
    assert ask(writer.path, "SELECT inserted, updated, stale, deleted FROM ingestd_cursors") == [(3, 1, 2, 1)]


def test_absent_field_is_null_or_kept_and_explicit_null_is_null(bench: MakeBench) -> None:
    writer = bench("", _pipeline("soft"))
    writer.commit([_up(key, 1, a="1", b="1") for key in "xyz"])
    writer.commit([_up("x", 2), _up("y", 2, a=None, b=None), _up("z", 2, b="2")], 3)
    assert _rows(writer) == [("x", None, "1", 2), ("y", None, None, 2), ("z", None, "2", 2)]


@pytest.mark.parametrize("how", ["soft", "hard"])
def test_record_without_a_not_null_field_that_it_keeps_changes_the_row_that_is_there(
    bench: MakeBench, how: str
) -> None:
    ddl = "CREATE TABLE orders (id TEXT PRIMARY KEY, a TEXT, b TEXT NOT NULL, v INT)"
    writer = bench(ddl, _pipeline(how))
    writer.commit([_up("x", 1, b="1"), _up("x", 2, a="2"), _delete("nobody", 1), _up("refused", 1)])
    assert _rows(writer) == [("x", "2", "1", 2)]
    assert writer.dead() == [(3, "23502")]
    assert ask(writer.path, "SELECT inserted, updated, deleted, dead FROM ingestd_cursors") == [(1, 1, 1, 1)]


def test_hard_delete_stops_an_older_upsert_that_comes_later(bench: MakeBench) -> None:
    writer = bench("", _pipeline("hard"))
    writer.commit([_up("x", 1), _delete("x", 5), _delete("y", 3)])
    writer.commit([_up("x", 4), _up("y", 2), _up("y", 3)], 3)
    assert _rows(writer) == [("y", None, None, 3)]
    writer.commit([_up("x", 6)], 6)
    assert [row[0] for row in _rows(writer)] == ["x", "y"]


def test_refused_upsert_leaves_no_version_that_would_stop_its_repair(bench: MakeBench) -> None:
    ddl = "CREATE TABLE orders (id TEXT PRIMARY KEY, a TEXT CHECK (a <> 'bad'), b TEXT, v INT)"
    writer = bench(ddl, _pipeline("hard"))
    writer.commit([_up("x", 9, a="bad"), _up("x", 5, a="good")])
    assert _rows(writer) == [("x", "good", None, 5)]
    assert writer.dead() == [(0, "23514")]


def test_forgotten_delete_lets_an_older_upsert_back_in(bench: MakeBench) -> None:
    writer = bench("", _pipeline("hard"))
    writer.commit([_delete("x", 5), _up("y", 5)])
    ask(writer.path, "UPDATE ingestd_versions SET changed_at = '2020-01-01T00:00:00.000Z'")
    assert forget_deleted(writer.store.open(), "p", 3600) == 1
    writer.commit([_up("x", 4), _up("y", 4)], 2)
    assert [(row[0], row[3]) for row in _rows(writer)] == [("x", 4), ("y", 5)]


@pytest.mark.parametrize("version", ["v", "offset"])
@pytest.mark.parametrize("how", ["soft", "hard"])
def test_any_mix_equals_a_replay_record_by_record_and_a_rewind_changes_nothing(
    bench: MakeBench, how: str, version: str
) -> None:
    chance = random.Random(7)
    log = []
    for n in range(600):
        fields = {name: f"{n}" for name in "ab" if chance.random() < 0.5}
        make = _delete if chance.random() < 0.2 else _up
        log.append(make(f"{chance.randrange(60)}", chance.randrange(40), **fields))
    writer = bench("", _pipeline(how, version))
    for start in range(0, 600, 150):
        writer.commit(log[start : start + 150], start)
    after = _rows(writer)
    assert after == _replayed(log, how, version)
    writer.rewind()
    for start in range(0, 600, 200):
        writer.commit(log[start : start + 200], start)
    assert _rows(writer) == after


def _replayed(log: list[dict[str, Any]], how: str, version: str) -> list[Any]:
    """What the words of the contract say, one record after the other."""
    rows: dict[str, list[Any]] = {}
    seen: dict[str, int] = {}
    for record in log:
        key, at = record["id"], record["v"] if version == "v" else 0
        if at < seen.get(key, -1):
            continue
        seen[key] = at
        row, deletes = rows.get(key), record["kind"] == "delete"
        if deletes and how == "hard":
            rows.pop(key, None)
            continue
        kept = row or [key, None, None, None]
        a = record["a"] if "a" in record else kept[1] if deletes else None
        rows[key] = [key, a, record.get("b", kept[2]), record["v"]]
    return sorted(map(tuple, rows.values()))
