"""Rows that PostgreSQL refuses in an upsert and behind a gate: they leave nothing, their neighbours lose nothing."""

from typing import Any

import pytest

from tests.sinks.conftest import MakeBench
from tests.sinks.refusals import DEFERRED, REFUSALS

_COLUMNS = {"id": "text", "v": "int4", "w": "text"}
_GATE: dict[str, Any] = {"dedupe": {"table": "seen", "key": "id", "create": True}}
_DEFERRED = {f"deferred_{name}": case for name, case in DEFERRED.items()}
_ALL = REFUSALS | _DEFERRED
_CHOSEN = ["raise", "not_null", "exclusion", "second_unique_index", "nested_too_deep", *_DEFERRED]


def _values(bad: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": f"{n * 7919 % 1000:04}", "v": 1, "w": "a", **(bad if n % 37 == 5 else {})} for n in range(60)]


@pytest.mark.parametrize("name", _CHOSEN)
def test_refused_rows_leave_no_key_and_their_mended_repeats_come_through(bench: MakeBench, name: str) -> None:
    ddl, bad, sqlstate = _ALL[name]
    writer = bench(ddl, _COLUMNS, **_GATE)
    values = _values(bad)
    good = sorted(str(value["id"]) for n, value in enumerate(values) if n % 37 != 5)
    writer.commit(values)
    assert writer.dead() == [(5, sqlstate), (42, sqlstate)]
    assert [found for found in writer.column() if found != "old"] == writer.column("id", "seen") == good
    writer.commit([{**value, "v": 1, "w": "a"} for value in values], 60)
    assert [found for found in writer.column() if found != "old"] == sorted(str(value["id"]) for value in values)


@pytest.mark.parametrize("name", _ALL)
def test_upsert_refuses_exactly_the_rows_at_fault(bench: MakeBench, name: str) -> None:
    ddl, bad, sqlstate = _ALL[name]
    key = ("id", "v") if "PARTITION BY" in ddl else ("id",)
    writer = bench(ddl, _COLUMNS, mode="upsert", key=key)
    values = _values(bad)
    writer.commit(values)
    assert writer.dead() == [(5, sqlstate), (42, sqlstate)]
    good = sorted(str(value["id"]) for n, value in enumerate(values) if n % 37 != 5)
    assert [found for found in writer.column() if found != "old"] == good


@pytest.mark.parametrize("name", ["raise", "second_unique_index", "deferred_foreign_key"])
def test_upsert_behind_a_gate_refuses_exactly_the_rows_at_fault(bench: MakeBench, name: str) -> None:
    """Bad repeats of one event in a batch, then a good one of it; and the same row by other events."""
    ddl, bad, sqlstate = _ALL[name]
    more = {"dedupe": {"table": "seen", "key": "event", "create": True}}
    ddl += "; ALTER TABLE orders ADD COLUMN event text"
    writer = bench(ddl, {**_COLUMNS, "event": "text"}, mode="upsert", **more)
    plain = {"v": 1, "w": "a"}
    writer.commit(
        [
            {"id": "1", **plain, "event": "e1"},
            *({"id": "2", **plain, **bad, "event": "e2"} for _ in range(40)),
            {"id": "2", **plain, "event": "e2"},
            {"id": "2", **plain, "event": "e2"},
            {"id": "1", **plain, "event": "e3"},
            {"id": "1", **plain, **bad, "event": "e4"},
        ]
    )
    assert writer.dead() == [(n, sqlstate) for n in (*range(1, 41), 44)]
    assert [found for found in writer.column() if found != "old"] == ["1", "2"]
    assert writer.column("event", "seen") == ["e1", "e2", "e3"]
    if name not in _DEFERRED:
        assert len(writer.sink.tried) < 20, "equal repeats of a refused record go with it"
