"""Random mixes of good, repeated and refused rows end as if the records had come one by one."""

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.rows import join
from tests.sinks.contracts import Bench, ask, decoded, pipeline_of, records_of

_DDL = """
CREATE TABLE orders (id int PRIMARY KEY, v int CHECK (v <> 3), w text NOT NULL, at timestamptz DEFAULT now());
CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.v = 5 THEN RAISE 'five'; END IF; RETURN NULL; END $$;
CREATE TRIGGER judge AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION judge();
"""
_RECORD = st.tuples(
    st.integers(0, 12), st.sampled_from([0, 1, 2, 3, 5]), st.sampled_from(["a", "b" * 900, None, "bad"])
)
_BATCHES = st.lists(st.lists(st.lists(_RECORD, max_size=12), min_size=1, max_size=3), min_size=1, max_size=6)


def _refused(row: tuple[int, int, str | None]) -> str | None:
    if row[2] is None:
        return "23502"
    return {3: "23514", 5: "P0001"}.get(row[1])


def _value(row: tuple[int, int, str | None]) -> bytes:
    return b"{bad" if row[2] == "bad" else orjson.dumps({"id": row[0], "v": row[1], "w": row[2]})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_BATCHES)
def test_mix_ends_as_if_records_had_come_one_by_one(database: str, batches: list[Any]) -> None:
    # At the start, so that what a failed example leaves behind does not fail the ones that shrink it.
    if ask(database, "SELECT to_regclass('orders')")[0][0]:
        ask(database, "TRUNCATE orders, ingestd.dead_letters, ingestd.cursors")
    else:
        ask(database, _DDL)
    writer = Bench(database, pipeline_of({"id": "int4", "v": "int4", "w": "text"}))
    table: dict[int, tuple[int, str]] = {}
    dead: dict[int, str | None] = {}
    broken_twice: set[int] = set()
    duplicates = at = 0
    for chunks in batches:
        parts = []
        for chunk in filter(None, chunks):
            parts.append(decoded(writer.pipeline, records_of([_value(row) for row in chunk], at)))
            for n, row in enumerate(chunk, at):
                sqlstate = None if row[2] == "bad" else _refused(row)
                taken = row[0] in table
                if row[1] == 3 and row[2] is None:
                    broken_twice.add(n)
                if row[2] == "bad":
                    dead[n] = None
                elif sqlstate and not (taken and sqlstate == "P0001"):
                    dead[n] = sqlstate  # a constraint is looked at before the conflict, an AFTER trigger only behind it
                elif taken:
                    duplicates += 1
                else:
                    table[row[0]] = (row[1], row[2])
            at += len(chunk)
        if parts:
            writer.commit_rows(join(parts))
    assert {row[0]: row[1:] for row in ask(database, "SELECT id, v, w FROM orders")} == table
    found = dict(writer.dead())
    # A row that breaks two rules at once is refused for one of them; which one depends on the way.
    both = {n for n, sqlstate in found.items() if (sqlstate, dead.get(n)) == ("23514", "23502") and n in broken_twice}
    assert {n: "23502" if n in both else sqlstate for n, sqlstate in found.items()} == dead
    assert ask(database, "SELECT next_offset, records, inserted, duplicates, dead FROM ingestd.cursors") == [
        (at, at, len(table), duplicates, len(dead))
    ]
    writer.store.close()
