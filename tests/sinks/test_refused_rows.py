"""Every way in which PostgreSQL refuses a row: exactly those rows are dead letters, the neighbours are in the table."""

from typing import Any

import pytest

from ingestd.sinks.ladder import Way
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import ask, decoded, records_of
from tests.sinks.refusals import DEFERRED, REFUSALS, triggered

_COLUMNS = {"id": "text", "v": "int4", "w": "text"}


def _values(bad: dict[str, Any], count: int = 300, every: int = 37) -> list[dict[str, Any]]:
    plain = {"v": 1, "w": "a"}
    return [{"id": f"{n * 7919 % 1000:04}", **plain, **(bad if n % every == 5 else {})} for n in range(count)]


@pytest.mark.parametrize("name", REFUSALS)
def test_looped_way_names_exactly_the_refused_rows(bench: MakeBench, name: str) -> None:
    ddl, bad, sqlstate = REFUSALS[name]
    key = ("id", "v") if "PARTITION BY" in ddl else ("id",)
    writer = bench(ddl, _COLUMNS, key=key)
    values = _values(bad)
    writer.commit(values)
    assert writer.dead() == [(n, sqlstate) for n in range(300) if n % 37 == 5]
    good = sorted(value["id"] for n, value in enumerate(values) if n % 37 != 5)
    assert [key for key in writer.column() if key != "old"] == good
    assert writer.cursor() == 300
    assert writer.seen.ways == [Way.LOOPED]


_CHECKS: dict[str, tuple[str, list[Any], list[Any]]] = {
    # name -> (CHECKs, values of v and w that pass, values that are refused)
    "null_passes": ("CHECK (v > 0)", [(1, "a"), (None, "a")], [(-1, "a"), (0, None)]),
    "several": ("CHECK (v > 0), CHECK (w <> 'no')", [(1, None), (None, "a")], [(1, "no"), (0, "a"), (0, "no")]),
    "percent": ("CHECK (v % 2 = 1), CHECK (w LIKE '%a%')", [(1, "bab"), (3, None)], [(2, "a"), (1, "b")]),
    "braces": ("CHECK (w <> '{}'), CHECK (w <> '{0} {x}')", [(1, "{"), (1, "{{}}")], [(1, "{}"), (1, "{0} {x}")]),
    "quotes": ('CONSTRAINT "it\'s ""one" CHECK (w <> \'it\'\'s "x"\')', [(1, "it's")], [(1, 'it\'s "x"')]),
    "dollars_and_backslash": (r"CHECK (w !~ '^\$ingestd\$\\d$')", [(1, "$ingestd$")], [(1, "$ingestd$\\d")]),
    "two_columns": ("CHECK (v > length(w))", [(3, "ab"), (None, "ab")], [(1, "ab")]),
    "array": ("CHECK (w = ANY (ARRAY['a', 'b']))", [(1, "a"), (1, None)], [(1, "c")]),
}


@pytest.mark.parametrize(("direct", "way"), [(True, Way.SIFTED), (False, Way.SCREENED)])
@pytest.mark.parametrize("name", _CHECKS)
def test_screened_way_finds_exactly_the_rows_that_violate_a_check(
    bench: MakeBench, name: str, direct: bool, way: Way
) -> None:
    checks, passing, refused = _CHECKS[name]
    ddl = f"CREATE TABLE orders (id int PRIMARY KEY, v int, w text, {checks})"
    writer = bench(ddl, {**_COLUMNS, "id": "int4"}, direct=direct)
    pairs = [*refused, *passing] * 40
    writer.commit([{"id": 1000 - n, "v": v, "w": w} for n, (v, w) in enumerate(pairs)])
    assert writer.dead() == [(n, "23514") for n, pair in enumerate(pairs) if pair in refused]
    assert len(writer.column()) == 40 * len(passing)
    assert writer.seen.ways == [way]


def test_check_over_the_whole_row_is_found_by_the_loop(bench: MakeBench) -> None:
    """Its expression names the table and cannot be asked of staged rows."""
    writer = bench(
        "CREATE TABLE orders (id text PRIMARY KEY, v int, w text, CHECK (NOT (orders IS NULL) AND v > 0))", _COLUMNS
    )
    writer.commit(_values({"v": -1}))
    assert writer.dead() == [(n, "23514") for n in range(300) if n % 37 == 5]


def test_row_that_a_trigger_mends_is_not_refused_by_its_check(bench: MakeBench) -> None:
    mends = "IF NEW.w = 'mend' THEN NEW.v := 1; END IF;"
    writer = bench(triggered(mends, "id text PRIMARY KEY, v int CHECK (v > 0), w text"), _COLUMNS)
    writer.commit([{"id": "a", "v": -1, "w": "mend"}, {"id": "b", "v": -1, "w": "x"}, {"id": "c", "v": 1, "w": "x"}])
    assert writer.dead() == [(1, "23514")]
    assert writer.column() == ["a", "c"]


@pytest.mark.parametrize(("collation", "lowered"), [("C", "Ä"), ("pg_c_utf8", "ä")])
def test_check_is_judged_by_the_collation_of_its_column(bench: MakeBench, collation: str, lowered: str) -> None:
    """One of the two differs from the database's own, in which staged rows would be judged."""
    check = f"CHECK (lower(w) = '{lowered}')"
    writer = bench(f'CREATE TABLE orders (id text PRIMARY KEY, v int, w text COLLATE "{collation}" {check})', _COLUMNS)
    writer.commit([{"id": "a", "v": 1, "w": "Ä"}, {"id": "b", "v": 1, "w": "no"}])
    assert writer.dead() == [(1, "23514")]
    assert writer.column() == ["a"]


@pytest.mark.parametrize("name", DEFERRED)
def test_error_that_only_commit_raises_is_found_by_smaller_tiles(bench: MakeBench, name: str) -> None:
    ddl, bad, sqlstate = DEFERRED[name]
    writer = bench(ddl, _COLUMNS)
    values = _values(bad, 120)
    writer.commit(values)
    assert writer.dead() == [(n, sqlstate) for n in range(120) if n % 37 == 5]
    assert writer.column() == sorted(value["id"] for n, value in enumerate(values) if n % 37 != 5)
    assert writer.cursor() == 120
    tiles = sorted(writer.seen.tiles)
    assert [tile.start for tile in tiles] == [0, *(tile.end for tile in tiles[:-1])]


def test_two_partitions_in_one_batch_keep_their_dead_letters_apart(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0), w text)", _COLUMNS, (0, 1))
    records = records_of([{"id": f"a{n}", "v": n % 2} for n in range(9)], 0, 0)
    records += records_of([{"id": f"b{n}", "v": (n + 1) % 2} for n in range(9)], 5, 1)
    ask(writer.url, "UPDATE ingestd.cursors SET next_offset = 5 WHERE partition = 1")
    writer.commit_rows(decoded(writer.pipeline, records))
    dead = ask(writer.url, 'SELECT partition, "offset" FROM ingestd.dead_letters ORDER BY 1, 2')
    assert dead == [(0, n) for n in (0, 2, 4, 6, 8)] + [(1, n) for n in (6, 8, 10, 12)]
    assert (writer.cursor(0), writer.cursor(1)) == (9, 14)
    counts = ask(writer.url, "SELECT partition, records, inserted, dead FROM ingestd.cursors ORDER BY 1")
    assert counts == [(0, 9, 4, 5), (1, 9, 5, 4)]
