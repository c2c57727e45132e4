"""A PostgreSQL database opened for reading only. Knows no ledger."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from ingestd.errors import StartupError
from ingestd.stores.postgres.errors import first_line
from ingestd.stores.postgres.store import connect, place


@contextmanager
def open_reading(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose transactions cannot write.

    Raises: StartupError when the server cannot be asked, or there is nothing of ingestd in the database.
    """
    with closing(connect(url, "ingestd query")) as connection:
        try:
            connection.execute("SELECT set_config('default_transaction_read_only', 'on', false)")
            connection.commit()
            yield connection
        except psycopg.Error as error:
            raise StartupError(f"PostgreSQL at {place(url)}: {error.sqlstate}: {first_line(error)}") from error
