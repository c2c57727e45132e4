"""Answers of a real DuckDB with its DuckLake extension, attached read-only; a process of its own.

SQLite's locks belong to a process: DuckDB's SQLite and Python's would take each other's away. Run as a program:
arguments are the attachment and the kind of scanner, questions come as lines of JSON, answers go as lines of JSON.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any


def extension(module: str) -> str:
    """The extension's file in its installed package."""
    origin = find_spec(module)
    assert origin is not None and origin.origin is not None
    return str(next(Path(origin.origin).parent.rglob("*.duckdb_extension")))


class Reader:
    """`ask(sql)`: rows, or the error's text; every question is a transaction of its own."""

    def __init__(self, attach: str, scanner: str):
        command = [sys.executable, "-m", "tests.lake.ducklake_reader", attach, scanner]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def ask(self, sql: str) -> list[Any] | str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(sql) + "\n")
        self._process.stdin.flush()
        answer: list[Any] | str = json.loads(self._process.stdout.readline())
        return answer

    def rows(self, sql: str) -> list[Any]:
        """Of a question that has an answer."""
        found = self.ask(sql)
        assert isinstance(found, list), found
        return found


def main(attach: str, scanner: str) -> None:
    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": "1"})
    for module in (f"duckdb_extension_{scanner}", "duckdb_extension_ducklake"):
        connection.execute(f"LOAD '{extension(module)}'")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(attach)
    for line in sys.stdin:
        answer: object
        try:
            rows = connection.execute(json.loads(line)).to_arrow_table().to_pylist()
            answer = [list(row.values()) for row in rows]
        except duckdb.Error as error:
            answer = str(error)
        print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
