"""Offsets rewound to the beginning and read again: the table is the same, byte for byte, in every mode and store."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from tests.sinks.contracts import Bench, ask, pipeline_of
from tests.sqlite.bench import FileBench
from tests.sqlite.bench import ask as ask_file

COLUMNS = {"id": "text", "v": "int4", "note": "text"}
GATE = {"table": "seen", "key": "id", "create": True}
MODES: dict[str, dict[str, Any]] = {
    "append": {"mode": "append"},
    "append behind a gate": {"mode": "append", "dedupe": GATE},
    "insert": {"mode": "insert"},
    "insert behind a gate": {"mode": "insert", "dedupe": GATE},
    "upsert": {"mode": "upsert", "version": "v"},
    "upsert by offset": {"mode": "upsert"},
}


class Rewound:
    """One pipeline on one store."""

    def __init__(self, place: str, options: dict[str, Any]):
        self._ask: Callable[..., list[Any]] = ask if place.startswith("postgresql:") else ask_file
        self._place = place
        columns = [{"name": name, "type": kind, "required": name == "id"} for name, kind in COLUMNS.items()]
        more = {"column": columns, **{name: value for name, value in options.items() if name != "version"}}
        pipeline = pipeline_of({}, create=True, **more)
        table = structs.replace(pipeline.table, version=options.get("version", "offset"))
        self.pipeline = structs.replace(pipeline, table=table)
        self.bench: Any = (Bench if place.startswith("postgresql:") else FileBench)(place, self.pipeline, (0,))
        self._is_file = self._ask is ask_file

    def sql(self, query: str) -> list[Any]:
        return self._ask(self._place, query.replace("ingestd.", "ingestd_") if self._is_file else query)

    def table(self) -> list[Any]:
        """Every row with its place in the table and, in PostgreSQL, the transaction that wrote it."""
        place = "rowid" if self._is_file else "ctid::text, xmin::text"
        return self.sql(f"SELECT {place}, * FROM orders ORDER BY 1, 2, 3")


@pytest.fixture(params=["postgres", "sqlite"])
def rewound(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Rewound]]:
    place = str(tmp_path / "s.db") if request.param == "sqlite" else request.getfixturevalue("database")
    made: list[Rewound] = []

    def make(options: dict[str, Any]) -> Rewound:
        made.append(Rewound(place, options))
        return made[-1]

    yield make
    for one in made:
        one.bench.store.close()


@pytest.mark.parametrize("mode", MODES)
def test_rewind_to_the_beginning_changes_no_byte(rewound: Callable[[dict[str, Any]], Rewound], mode: str) -> None:
    one = rewound(MODES[mode])
    chosen = random.Random(7)
    records: list[Any] = [
        {"id": f"k{chosen.randrange(40)}", "v": chosen.randrange(20), "note": f"n{n}"} for n in range(200)
    ]
    records[50], records[120] = b"no JSON", {"id": None}
    for start in range(0, 200, 50):
        one.bench.commit(records[start : start + 50], start)
    before, letters = one.table(), one.sql("SELECT count(*) FROM ingestd.dead_letters")
    assert len(before) >= 40
    one.sql("UPDATE ingestd.cursors SET next_offset = 0")
    one.bench.claim([0])
    for start in range(0, 200, 40):  # other batches than the first time
        one.bench.commit(records[start : start + 40], start)
    assert one.table() == before
    assert one.sql("SELECT count(*) FROM ingestd.dead_letters") == letters == [(2,)]
    one.bench.commit([{"id": "new", "v": 99}], 200)
    assert len(one.table()) == len(before) + 1


def test_replayed_record_behind_a_gate_leaves_no_key_that_would_drop_its_mended_letter(
    rewound: Callable[[dict[str, Any]], Rewound],
) -> None:
    one = rewound(MODES["append behind a gate"])
    one.bench.commit([{"id": "a", "v": 1}, b"no JSON"])
    one.sql("DELETE FROM seen")
    one.sql("UPDATE ingestd.cursors SET next_offset = 0")
    one.bench.claim([0])
    one.bench.commit([{"id": "a", "v": 1}, b"no JSON"])
    assert one.sql("SELECT count(*) FROM seen") == [(0,)]
    assert len(one.table()) == 1
