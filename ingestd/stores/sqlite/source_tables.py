"""The copy of a source's table in an SQLite file, growing with it. Knows no records and no lease."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.schema.sqlite import affinity, sqlite_type
from ingestd.schema.types import parse_type
from ingestd.stores.source_tables import Growth, SourceTable, read_texts
from ingestd.stores.sqlite.table_check import quoted
from ingestd.stores.statements import load_statements

_SQL = {
    name.removeprefix("sqlite_"): text.decode()
    for name, text in load_statements("source_tables.sql").items()
    if name.startswith("sqlite_")
}


class SqliteSourceTables:
    """See `ingestd.stores.source_tables.SourceTables`."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._name = pipeline.table.name
        self._values = {"pipeline": pipeline.name, "topic": pipeline.topic}

    def read(self, connection: Any) -> SourceTable | None:
        """What is remembered."""
        if not connection.execute(_SQL["exists"]).fetchone()[0]:
            return None
        row = connection.execute(_SQL["read"], self._values).fetchone()
        return None if row is None else read_texts(*row)

    def grow(
        self,
        connection: Any,
        grown: Callable[[SourceTable | None], Growth],
        defaults: Callable[[Sequence[str]], Mapping[str, Any]],
    ) -> Growth:
        """Change the copy, when it is there, and remember that. Commits."""
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SQL["create"])
        known = self.read(connection)
        growth = grown(known)
        have = {
            row[0]: row[1] for row in connection.execute("SELECT name, type FROM pragma_table_xinfo(?)", (self._name,))
        }
        if have:
            self._add(connection, growth, have, defaults([name for name, _ in growth.added]))
            for name, kind in growth.widened:
                self._rewrite(connection, name, dict(known.columns)[name] if known else kind, kind)
                if affinity(have[name]) not in sqlite_type(parse_type(kind)).fits:
                    mend = "SQLite cannot change a column's type: make the copy anew under another table.name"
                    raise Halt(f"table {self._name}: column {name} ({have[name]}) cannot hold {kind} by now; {mend}")
        connection.execute(_SQL["remember"], self._values | {"table_name": self._name} | growth.table.texts())
        connection.execute("COMMIT")
        return growth

    def _rewrite(self, connection: Any, name: str, old: str, new: str) -> None:
        """Numbers with a scale have all its digits, so that equal ones are equal texts."""
        had, has = parse_type(old), parse_type(new)
        if had.is_array or not had.scalar == has.scalar == "numeric" or has.args[1] == had.args[1]:
            return
        digits = ("" if had.args[1] else ".") + "0" * (has.args[1] - had.args[1])
        connection.execute(f"UPDATE {quoted(self._name)} SET {quoted(name)} = {quoted(name)} || ?", (digits,))

    def _add(self, connection: Any, growth: Growth, have: Mapping[str, str], defaults: Mapping[str, Any]) -> None:
        for name, kind in growth.added:
            if name in have:
                continue
            column = sqlite_type(parse_type(kind))
            clause = f"{quoted(name)} {column.declared}"
            if (array := defaults.get(name)) is not None:
                value = column.values(array)[0]
                written = connection.execute("SELECT quote(?)", (value,)).fetchone()[0]
                clause += f" DEFAULT {written}"
            connection.execute(f"ALTER TABLE {quoted(self._name)} ADD COLUMN {clause}")
