"""Row numbers of the patient ways name the right records, whatever the rows look like."""

import random

import pytest

from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import ask

_NOTED = {"id": "text", "n": "int4", "note": "text"}
_CHECKED = "CREATE TABLE orders (id text PRIMARY KEY, amount int CHECK (amount >= 0), note text)"
_TRIGGERED = """
CREATE TABLE orders (id text PRIMARY KEY, amount int, note text);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.amount < 0 THEN RAISE 'negative'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.mark.parametrize("ddl", [_CHECKED, _TRIGGERED], ids=["screened", "looped"])
def test_rows_of_very_different_sizes_keep_their_numbers(bench: MakeBench, ddl: str) -> None:
    """A small row may land in the free space of an earlier page of staging: the heap's order is not the COPY's."""
    chance = random.Random(7)
    writer = bench(ddl, {"id": "text", "amount": "int4", "note": "text"})
    values = [
        {
            "id": f"{chance.random():.12f}",
            "amount": -1 if chance.random() < 0.05 else 1,
            "note": chance.randbytes(chance.choice([1, 10, 400, 950])).hex(),
        }
        for _ in range(4_000)
    ]
    writer.commit(values)
    bad = [n for n, value in enumerate(values) if value["amount"] == -1]
    assert [offset for offset, _ in writer.dead()] == bad
    assert writer.column() == sorted(value["id"] for value in values if value["amount"] == 1)


def test_first_of_equal_keys_in_a_batch_wins_whatever_its_size(bench: MakeBench) -> None:
    """As if the records had come one by one: the later ones are the duplicates."""
    chance = random.Random(3)
    writer = bench("CREATE TABLE orders (id text PRIMARY KEY, n int, note text)", _NOTED)
    values = [
        {"id": f"{chance.randrange(2_000):06}", "n": n, "note": chance.randbytes(chance.choice([1, 400, 950])).hex()}
        for n in range(4_000)
    ]
    writer.commit(values)
    first: dict[str, int] = {}
    for value in values:
        first.setdefault(str(value["id"]), int(str(value["n"])))
    assert dict(ask(writer.url, "SELECT id, n FROM orders")) == first
    assert writer.seen.counts[-1][0].duplicates == 4_000 - len(first)
