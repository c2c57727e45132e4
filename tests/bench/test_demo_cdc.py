"""The parts of `ingestd demo cdc`: its comparison finds every difference, its shop changes everything."""

from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest
from psycopg import sql

from ingestd.demo.cdc_compare import Session, compare, differences, open_session
from ingestd.demo.cdc_shop import TABLES, Shop, make_tables
from ingestd.embedded.child import wait_until

_ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10,2), at timestamptz, profile jsonb, note text)"


class TwoSides(NamedTuple):
    """A source and a copy."""

    source: Session
    copy: Session


@pytest.fixture
def sides(database: str, source_database: str) -> Iterator[TwoSides]:
    """`orders` with the same three rows on both sides; the copy has a column more, and another order of columns."""
    with open_session(source_database) as source, open_session(database) as copy:
        source.execute(_ORDERS)
        copy.execute(
            "CREATE TABLE orders (note text, lsn bigint, profile jsonb, at timestamptz, id int, amount numeric)"
        )
        copy.execute("ALTER TABLE orders ALTER amount TYPE numeric(10,2)")
        for session in (source, copy):
            session.execute(
                "INSERT INTO orders (id, amount, at, profile, note) VALUES "
                """(1, 1.50, '2026-01-05 10:00+02', '{"a": 1, "b": null}', 'x'), (2, NULL, NULL, NULL, ''), """
                "(3, 0, 'infinity', '[]', NULL)"
            )
        yield TwoSides(source, copy)


def test_equal_rows_are_equal_whatever_the_order_of_rows_and_columns(sides: TwoSides) -> None:
    sides.copy.execute("UPDATE orders SET lsn = 7 WHERE id = 1")
    found = compare(sides.source, sides.copy, ["public.orders"])[0]
    assert (found.equal, found.source_rows, found.copy_rows) == (True, 3, 3)
    assert differences(sides.source, sides.copy, ["public.orders"]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM orders WHERE id = 2", "1 missing in the copy (2)"),
        ("INSERT INTO orders (id) VALUES (9)", "1 only in the copy (9)"),
        ("UPDATE orders SET note = '' WHERE id = 3", "1 with other values (3)"),
        ("UPDATE orders SET at = at + interval '1 us' WHERE id = 1", "1 with other values (1)"),
        ("UPDATE orders SET id = 10 - id", "3 missing in the copy (1, 2, 3), 3 only in the copy (7, 8, 9)"),
        ("INSERT INTO orders SELECT * FROM orders WHERE id = 1", ""),
    ],
)
def test_every_difference_is_found(sides: TwoSides, change: str, said: str) -> None:
    sides.copy.execute(change.encode())
    assert not compare(sides.source, sides.copy, ["public.orders"])[0].equal
    found = differences(sides.source, sides.copy, ["public.orders"])
    # A row that is there twice has the same key twice: only count and sum tell.
    assert [str(one) for one in found] == ([f"public.orders: {said}"] if said else [])


def test_a_copy_that_is_not_there_has_no_rows(sides: TwoSides) -> None:
    sides.copy.execute("DROP TABLE orders")
    found = compare(sides.source, sides.copy, ["public.orders"])[0]
    assert (found.equal, found.source_rows, found.copy_rows) == (False, 3, 0)


def test_the_shop_inserts_updates_and_deletes_and_really_rests(source_database: str) -> None:
    make_tables(source_database)
    shop = Shop(source_database, 5000)
    with psycopg.connect(source_database, autocommit=True) as connection:
        shop.start()

        def made(changes: int) -> bool:
            shop.check()
            return shop.changes > changes

        changes = 5000
        try:
            assert wait_until(lambda: made(changes), 60)
            shop.rest()
            at_rest = _statistics(connection)
            changes = shop.changes
            assert wait_until(lambda: _statistics(connection) == at_rest, 10)
            assert shop.changes == changes
            shop.resume()
            assert wait_until(lambda: made(changes), 60)
        finally:
            assert shop.stop() > changes
        for table in TABLES:
            query = sql.SQL("SELECT count(*), max(id) FROM {}").format(sql.Identifier(*table.split(".")))
            rows, highest = connection.execute(query).fetchone() or (0, 0)
            # Fewer rows than keys ever given: something was deleted, or got another key.
            assert 0 < rows < highest
        noted = connection.execute("SELECT count(*) FROM orders WHERE length(note) > 8000").fetchone()
        assert noted and noted[0] > 0


def _statistics(connection: "psycopg.Connection[tuple[object, ...]]") -> list[tuple[object, ...]]:
    return connection.execute("SELECT count(*), sum(amount), max(updated_at) FROM orders").fetchall()
