"""Rows that PostgreSQL refuses behind a gate: they leave no key, and their neighbours lose nothing."""

import pytest

from tests.sinks.conftest import MakeBench
from tests.sinks.refusals import DEFERRED, REFUSALS

_COLUMNS = {"id": "text", "v": "int4", "w": "text"}
_CASES = {
    **{name: REFUSALS[name] for name in ("raise", "not_null", "exclusion", "second_unique_index", "nested_too_deep")},
    **{f"deferred_{name}": case for name, case in DEFERRED.items()},
}


@pytest.mark.parametrize("name", _CASES)
def test_exactly_the_refused_rows_are_dead_and_their_mended_repeats_come_through(bench: MakeBench, name: str) -> None:
    ddl, bad, sqlstate = _CASES[name]
    writer = bench(ddl, _COLUMNS, dedupe={"table": "seen", "key": "id", "create": True})
    values = [{"id": f"{n * 7919 % 1000:04}", "v": 1, "w": "a", **(bad if n % 37 == 5 else {})} for n in range(60)]
    good = sorted(str(value["id"]) for n, value in enumerate(values) if n % 37 != 5)
    writer.commit(values)
    assert writer.dead() == [(5, sqlstate), (42, sqlstate)]
    assert [found for found in writer.column() if found != "old"] == writer.column("id", "seen") == good
    writer.commit([{**value, "v": 1, "w": "a"} for value in values], 60)
    assert [found for found in writer.column() if found != "old"] == sorted(str(value["id"]) for value in values)
