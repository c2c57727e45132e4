"""One statement that reads, in a transaction that cannot write, from PostgreSQL or SQLite. Knows no output format."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.errors import StartupError
from ingestd.stores.open import is_sqlite

Row = Sequence[Any]


class Answer(Struct):
    """Column names, and the rows as they come from the server; read it once."""

    columns: list[str]
    rows: Iterator[Row]


def select_table(pipeline: cfg.Pipeline, table: str | None, limit: int | None) -> str:
    """The statement that shows a table: the pipeline's own, as `[pipeline.query]` says, or any other, whole."""
    own = table is None or table == pipeline.table.name
    query = pipeline.query if own else None
    columns = ", ".join(_quoted(column.name) for column in query.column) if query else "*"
    order = ((query and query.order) or pipeline.table.key) if own else ()
    name = ".".join(_quoted(part) for part in (table or pipeline.table.name).split(".", 1))
    statement = f"SELECT {columns} FROM {name}"
    if order:
        statement += " ORDER BY " + ", ".join(map(_quoted, order))
    return statement if limit is None else f"{statement} LIMIT {limit}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def ask_store(store: cfg.Store, statement: str) -> Iterator[Answer]:
    """The answer to one statement; times come as text in UTC, exact numbers as text.

    Raises: StartupError when the store cannot be reached, or refuses the statement: it would write, or is wrong.
    """
    url = str.__str__(store.url)
    asking = _ask_sqlite(url, statement) if is_sqlite(store) else _ask_postgres(url, statement)
    with asking as answer:
        yield answer


@contextmanager
def _ask_postgres(url: str, statement: str) -> Iterator[Answer]:
    import psycopg
    from psycopg.types.string import TextLoader

    from ingestd.stores.postgres.errors import first_line
    from ingestd.stores.postgres.store import connect, place

    with closing(connect(url, "ingestd query")) as connection:
        try:
            connection.execute("SELECT set_config('TimeZone', 'UTC', false)")
            connection.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
            connection.commit()
            connection.read_only = True
            # As text: years that Python does not know, and digits that JSON would lose.
            for kind in ("timestamptz", "timestamp", "date", "time", "timetz", "interval", "numeric"):
                connection.adapters.register_loader(kind, TextLoader)
            cursor = connection.cursor()
            # stream() sends one statement only, and keeps no more than a row in memory.
            rows = cursor.stream(statement.encode("utf-8", "replace"))
            first = next(rows, None)
            columns = [column.name for column in cursor.description or ()]
            yield Answer(columns, _chained(first, rows))
        except psycopg.Error as error:
            said = f"{error.sqlstate}: {first_line(error)}"
            raise StartupError(f"PostgreSQL at {place(url)} does not answer this query: {said}") from error


def _chained(first: Row | None, rows: Iterator[Row]) -> Iterator[Row]:
    if first is not None:
        yield first
        yield from rows


@contextmanager
def _ask_sqlite(url: str, statement: str) -> Iterator[Answer]:
    import sqlite3

    from ingestd.stores.sqlite.reading import open_reading

    with open_reading(url) as connection:
        try:
            cursor = connection.execute(statement)
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:  # more than one statement
            raise StartupError(f"SQLite does not answer this query: {error}") from error
        yield Answer([column[0] for column in cursor.description or ()], iter(cursor))
