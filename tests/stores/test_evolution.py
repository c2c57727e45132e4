"""Evolved columns in the ledger of both stores: added once, remembered, never taken from another."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from ingestd.config import options as cfg
from ingestd.stores.evolution import MAX_EVOLVED_COLUMNS, EvolvedColumns
from ingestd.stores.open import open_evolution
from tests.sinks.contracts import pipeline_of

Open = Callable[[str], EvolvedColumns]


@pytest.fixture(params=["postgres", "sqlite"])
def store(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Open]]:
    """A connection to a database with table `orders (id, own)`, and a function from a pipeline's name."""
    url: str
    connection: Any
    if request.param == "sqlite":
        url, connection = "sqlite:///unused.db", sqlite3.connect(":memory:", isolation_level=None)
    else:
        url = request.getfixturevalue("database")
        connection = psycopg.connect(url)
        connection.execute("CREATE SCHEMA ingestd")
    connection.execute("CREATE TABLE orders (id int PRIMARY KEY, own text)")
    connection.commit()

    def evolution(name: str) -> EvolvedColumns:
        pipeline = pipeline_of({"id": "int4"}, name=name)
        return open_evolution(cfg.Store(url=cfg.Secret(url)), pipeline)

    yield connection, evolution
    connection.close()


def test_columns_are_added_in_order_and_remembered(store: tuple[Any, Open]) -> None:
    connection, evolution = store
    one = evolution("p")
    assert one.read(connection).columns == {}
    assert one.add(connection, {"b": "text", 'a"b': "int8"}) == ["b", 'a"b']
    assert one.add(connection, {"b": "int8", "c": "jsonb"}) == ["b", "c"]
    found = one.read(connection)
    assert found.columns == {'a"b': "int8", "b": "text", "c": "jsonb"}
    assert {"id", "own"} <= found.others and not found.others & found.columns.keys()
    connection.execute("""INSERT INTO orders (id, "a""b", b) VALUES (1, 2, 'x')""")


def test_a_column_that_another_has_made_is_never_taken(store: tuple[Any, Open]) -> None:
    connection, evolution = store
    one = evolution("p")
    assert one.add(connection, {"own": "text", "OWN": "text", "ID": "int8", "new": "bool", "New": "bool"}) == ["New"]
    assert list(one.read(connection).columns) == ["New"]


def test_pipelines_of_one_table_share_their_columns(store: tuple[Any, Open]) -> None:
    connection, evolution = store
    assert evolution("p").add(connection, {"x": "int8"}) == ["x"]
    other = evolution("q")
    assert other.read(connection).columns == {"x": "int8"}
    assert other.add(connection, {"x": "text"}) == ["x"]
    assert other.read(connection).columns == {"x": "int8"}


def test_a_column_that_was_dropped_is_forgotten(store: tuple[Any, Open]) -> None:
    connection, evolution = store
    one = evolution("p")
    one.add(connection, {"x": "int8"})
    connection.execute("ALTER TABLE orders DROP COLUMN x")
    connection.commit()
    assert one.read(connection).columns == {}
    other = evolution("q")
    assert other.add(connection, {"x": "text"}) == ["x"]
    assert one.read(connection).columns == other.read(connection).columns == {"x": "text"}


def test_there_is_an_end_to_it(store: tuple[Any, Open]) -> None:
    connection, evolution = store
    fields = {f"f{n:03}": "int8" for n in range(MAX_EVOLVED_COLUMNS + 5)}
    assert len(evolution("p").add(connection, fields)) == MAX_EVOLVED_COLUMNS
    assert evolution("p").add(connection, {"more": "text"}) == []
