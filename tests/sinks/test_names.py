"""Tables and columns may be called anything: quotes, upper case, reserved words, the loop's own words."""

import pytest

from tests.sinks.conftest import MakeBench

_WORDS = ["low", "high", "done", "block", "blocks", "staged", "written", "added", "said", "n", "refused", "s", "order"]
_HOSTILE = ["Upper", "sp ace", "per%cent", "%s", "br{ace}", "{}", "select", "ünï", "sqlstate"]
_TRIGGER = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW."id" = 'bad' THEN RAISE 'refused here'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", [*_WORDS, *_HOSTILE])
def test_looped_way_takes_any_column_name_also_as_the_key(bench: MakeBench, name: str) -> None:
    ddl = f"CREATE TABLE orders (id text, {_quoted(name)} int, PRIMARY KEY (id, {_quoted(name)}));{_TRIGGER}"
    writer = bench(ddl, {"id": "text", name: "int4"}, key=("id", name))
    writer.commit([{"id": "a", name: 1}, {"id": "bad", name: 2}, {"id": "c", name: 3}, {"id": "a", name: 1}])
    assert writer.dead() == [(1, "P0001")]
    assert writer.column() == ["a", "c"]


@pytest.mark.parametrize(("direct", "way"), [(True, "SIFTED"), (False, "SCREENED")])
@pytest.mark.parametrize("name", _HOSTILE)
def test_screened_way_takes_any_column_name(bench: MakeBench, name: str, direct: bool, way: str) -> None:
    ddl = f"CREATE TABLE orders (id text PRIMARY KEY, {_quoted(name)} int CHECK ({_quoted(name)} > 0))"
    writer = bench(ddl, {"id": "text", name: "int4"}, direct=direct)
    writer.commit([{"id": "a", name: 1}, {"id": "b", name: 0}, {"id": "c", name: 3}])
    assert writer.dead() == [(1, "23514")]
    assert writer.seen.ways[-1].name == way


def test_table_in_another_schema_with_a_hostile_name(bench: MakeBench) -> None:
    writer = bench(
        'CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."Or""ders" (id int PRIMARY KEY CHECK (id > 0))',
        {"id": "int4"},
        table='My Schema.Or"ders',
    )
    writer.commit([{"id": 1}, {"id": -1}, {"id": 2}])
    writer.commit([{"id": 2}, {"id": 3}], 3)
    assert writer.column(table='"My Schema"."Or""ders"') == [1, 2, 3]
    assert writer.dead() == [(1, "23514")]
