"""A DuckDB that can read the files of one lake and nothing else, within bounds. Knows no manifest and no store.

No extension is ever downloaded: a directory is read by DuckDB's own reader, an object store through Arrow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from types import TracebackType

import duckdb
import pyarrow as pa
from msgspec import Struct

from ingestd.errors import StartupError
from ingestd.lake.reading.readable import Readable
from ingestd.lake.reading.view import quoted, select_all
from ingestd.lake.temporary import TemporaryDirectory

VIEW = "lake"
SPILL = "ingestd-query-"
"""Of the directory for spilled rows; what a killed process left of one is removed by the next."""
_ANSWER = "answer of ingestd"
_BANNED = frozenset({"enable_logging", "disable_logging", "query"})
"""Functions with effects: a log that cannot be written ends DuckDB's process; `query` would hide them in a text."""


class Limits(Struct, frozen=True):
    """What one query may take."""

    memory_bytes: int = 1 << 30
    spill_bytes: int = 64 << 30
    threads: int = 0
    """0: as many as there are cores, 8 at most."""


class Refused(StartupError):
    """The query itself is at fault: it is wrong, would write, or needs more than it may take."""


class TooMuch(Refused):
    """The query needs more memory, or more temporary files, than it may take."""


class Session:
    """One query's DuckDB: `show` the files, `lock` it, then `ask`. Its memory and its spilled rows end with it."""

    def __init__(self, limits: Limits):
        self._limits = limits

    def __enter__(self) -> Session:
        self._spill = TemporaryDirectory(SPILL)
        self._connection = duckdb.connect(
            config={
                "memory_limit": f"{self._limits.memory_bytes}B",
                "threads": str(self._limits.threads or min(8, os.cpu_count() or 1)),
                "temp_directory": str(self._spill.path),
                "max_temp_directory_size": f"{self._limits.spill_bytes}B",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        # Where Python has no script (-c, a notebook) DuckDB draws it into standard output, among the rows.
        self._connection.execute("SET enable_progress_bar = false")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._spill.remove()

    def show(self, source: Readable, empty: pa.Schema) -> None:
        """A view of the files' rows; `empty` are its columns when there is no file.

        Raises: FileNotFoundError, OSError, duckdb.Error, pyarrow.ArrowException.
        """
        if source.files:
            self._view(VIEW, select_all(self._connection, source))
        else:
            self._connection.register("empty of ingestd", empty.empty_table())
            self._view(VIEW, 'FROM "empty of ingestd"')

    def also_as(self, name: str) -> None:
        """Another name of the view, when it is a free one."""
        if name.lower() != VIEW:
            self._view(name, f"FROM {VIEW}")

    def lock(self) -> None:
        """From here on no other file can be read and no setting be changed."""
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def columns(self) -> list[tuple[str, str]]:
        """Name and DuckDB type of each column of the view."""
        found = self._connection.execute(f"SELECT * FROM (DESCRIBE {VIEW})").fetchall()
        return [(str(row[0]), str(row[1])) for row in found]

    def ask(self, query: str, values: Sequence[str] = (), limit: int | None = None) -> Answer:
        """The whole answer, kept in DuckDB's memory or on the disk, so that no part is shown when a file vanishes.

        Raises: Refused; duckdb.Error for what the files and the disk say.
        """
        body = self._checked(query)
        rows = "" if limit is None else f" LIMIT {int(limit)}"
        try:
            self._answer(f"SELECT * FROM (\n{body}\n){rows}" if self._described(body) else _limited(body, rows), values)
        except duckdb.OutOfMemoryException as error:
            raise TooMuch(f"the answer needs more memory or temporary disk than it may take: {_first(error)}") from None
        except (duckdb.IOException, duckdb.InternalException):
            raise
        except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:
            raise Refused(f"DuckDB does not answer this query: {_first(error)}") from None
        return Answer(self._connection)

    def _checked(self, query: str) -> str:
        """The one statement of `query`, when it only reads."""
        try:
            statements = self._connection.extract_statements(query)
        except duckdb.Error as error:
            raise Refused(f"DuckDB does not understand this query: {_first(error)}") from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise Refused("one SELECT, please: a lake can be read only, by one statement")
        body = str(statements[0].query).strip().rstrip(";")
        row = self._connection.execute("SELECT json_serialize_sql($1)", [body]).fetchone()
        if banned := _BANNED & set(_functions(json.loads(row[0] if row else "{}"))):
            raise Refused(f"{', '.join(sorted(banned))}: not in a question to a lake")
        return body

    def _described(self, body: str) -> bool:
        return body.split(None, 1)[0].lower() in ("describe", "show", "summarize", "desc")

    def _answer(self, body: str, values: Sequence[str]) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(_ANSWER)} AS ({body}\n)", list(values))

    def _view(self, name: str, body: str) -> None:
        self._connection.execute(f"CREATE VIEW {quoted(name)} AS {body}")


class Answer:
    """The answer to one query, until its session ends or asks again."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        found = connection.execute(f"SELECT * FROM (DESCRIBE {quoted(_ANSWER)})").fetchall()
        self.columns = [(str(row[0]), str(row[1])) for row in found]
        """Name and DuckDB type of each."""

    def count(self) -> int:
        """Rows of the answer."""
        row = self._connection.execute(f"SELECT count(*) FROM {quoted(_ANSWER)}").fetchone()
        return int(row[0]) if row else 0

    def batches(self, texts: bool, limit: int | None = None, rows: int = 10_000) -> pa.RecordBatchReader:
        """The rows in Arrow batches of about `rows`; with `texts`, exact numbers and times come as text, times in UTC.

        Of an answer with more than `limit` rows the first ones.
        """
        chosen = ", ".join(_as_text(*column) if texts else quoted(column[0]) for column in self.columns)
        end = "" if limit is None else f" LIMIT {int(limit)}"
        return self._connection.execute(f"SELECT {chosen} FROM {quoted(_ANSWER)}{end}").to_arrow_reader(rows)


_PLAIN = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR", "BLOB")


def _as_text(name: str, kind: str) -> str:
    """A column whose values Python has as JSON has them: numbers, texts, truth values, lists of these."""
    bare = kind.rstrip("[]")
    if bare in _PLAIN or bare in ("UTINYINT", "USMALLINT", "UINTEGER"):
        return quoted(name)
    return f"{quoted(name)}::VARCHAR{kind[len(bare) :] if kind.endswith('[]') else ''} AS {quoted(name)}"


def _limited(body: str, rows: str) -> str:
    return f"SELECT * FROM (\n{body}\n){rows}" if rows else body


def _functions(parsed: object) -> Iterator[str]:
    """The functions that a parsed statement calls, wherever."""
    if isinstance(parsed, dict):
        if isinstance(called := parsed.get("function_name"), str):
            yield called.lower()
        for value in parsed.values():
            yield from _functions(value)
    elif isinstance(parsed, list):
        for value in parsed:
            yield from _functions(value)


def _first(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
