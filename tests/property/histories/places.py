"""The two stores under a history: options, tables, questions, and what breaks a connection. Knows no history."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import psycopg

from ingestd.config import options as cfg
from ingestd.stores.cursors import Move
from ingestd.stores.postgres import cursors
from ingestd.stores.sqlite import cursors as sqlite_cursors
from ingestd.stores.store import LedgerKey
from tests.property.histories.faults import Faults
from tests.property.histories.setup import Setup

_PARENTS = "INSERT INTO parents VALUES (1), (2), (3), (4), (7) ON CONFLICT DO NOTHING"


class Place(Protocol):
    """One database. It serves one history after the other, each with tables of its own."""

    tally: Counter[str]
    """What happened in all histories."""
    options: cfg.Store

    @property
    def folds(self) -> bool:
        """Whether of several records of a key in one batch the table sees only what is left of them."""
        ...

    @property
    def kinds(self) -> Sequence[str]:
        """Of faults."""
        ...

    def make(self, name: str, setup: Setup) -> None:
        """The table of a history."""
        ...

    def drop(self, name: str, setup: Setup) -> None:
        """All that a history has made."""
        ...

    def ask(self, query: str) -> list[Any]:
        """The rows of a query; `ingestd.` stands before the ledger's tables."""
        ...

    def move(self, key: LedgerKey, moves: Sequence[Move]) -> None:
        """As `ingestd offsets reset` does it; the ledger is made to believe that no worker runs."""
        ...

    def faults(self) -> Faults:
        """Nothing is broken yet."""
        ...


class PostgresPlace:
    """A database of a real server."""

    kinds = ("die", "lose", "odd", "steal")
    folds = True

    def __init__(self, url: str):
        self.options = cfg.Store(url=cfg.Store(url=url).url, lock_timeout=cfg.Secs(5))
        self.tally: Counter[str] = Counter()
        self._connection = psycopg.connect(url, autocommit=True)
        self.ask(f"CREATE TABLE IF NOT EXISTS parents (v integer PRIMARY KEY); {_PARENTS}")

    def make(self, name: str, setup: Setup) -> None:
        self.ask(setup.ddl(name, sqlite=False))

    def drop(self, name: str, setup: Setup) -> None:
        self.ask(f'DROP TABLE t_{name}; DROP TABLE IF EXISTS seen_{name}, ingestd."versions_{name}"')
        for table in ("cursors", "ranges", "dead_letters"):
            self.ask(f"DELETE FROM ingestd.{table} WHERE pipeline = '{name}'")

    def ask(self, query: str) -> list[Any]:
        cursor = self._connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []

    def move(self, key: LedgerKey, moves: Sequence[Move]) -> None:
        self.ask(f"UPDATE ingestd.cursors SET backend_pid = NULL WHERE pipeline = '{key.pipeline}'")
        cursors.move_cursors(self._connection, key, moves)

    def faults(self) -> Faults:
        return Faults(self._lose, self._odd, self.tally)

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _lose(connection: Any) -> Exception:
        connection.close()
        return psycopg.OperationalError("server closed the connection unexpectedly")

    @staticmethod
    def _odd(connection: Any) -> None:
        connection.execute("DO $$ BEGIN RAISE EXCEPTION 'odd' USING ERRCODE = 'XX000'; END $$")


class SqlitePlace:
    """A file."""

    kinds = ("die", "lose", "odd")
    folds = False

    def __init__(self, path: str):
        self.options = cfg.Store(url=f"sqlite:///{path}", lock_timeout=cfg.Secs(5), synchronous_commit="off")
        self.tally: Counter[str] = Counter()
        self._path = path
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self.ask("PRAGMA journal_mode = WAL")
        self.ask("CREATE TABLE IF NOT EXISTS parents (v INTEGER PRIMARY KEY)")
        self.ask(_PARENTS)

    def make(self, name: str, setup: Setup) -> None:
        self.ask(setup.ddl(name, sqlite=True))

    def drop(self, name: str, setup: Setup) -> None:
        self.ask(f"DROP TABLE t_{name}")
        self.ask(f"DROP TABLE IF EXISTS seen_{name}")
        tables = ("cursors", "ranges", "dead_letters", *(("versions",) if setup.hard else ()))
        for table in tables:
            self.ask(f"DELETE FROM ingestd.{table} WHERE pipeline = '{name}'")

    def ask(self, query: str) -> list[Any]:
        return self._connection.execute(query.replace("ingestd.", "ingestd_")).fetchall()

    def move(self, key: LedgerKey, moves: Sequence[Move]) -> None:
        self.ask(f"UPDATE ingestd.cursors SET backend_pid = NULL WHERE pipeline = '{key.pipeline}'")
        sqlite_cursors.move_cursors(self._path, key, moves)

    def faults(self) -> Faults:
        return Faults(self._lose, self._odd, self.tally)

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _lose(connection: Any) -> Exception:
        return _error(sqlite3.SQLITE_FULL, "database or disk is full")

    @staticmethod
    def _odd(connection: Any) -> None:
        raise _error(sqlite3.SQLITE_INTERNAL, "odd")


def _error(code: int, said: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode, error.sqlite_errorname = code, said
    return error
