"""The statements of one SQLite table, by the number of rows and what kind they are. Runs none."""

from collections.abc import Sequence
from functools import lru_cache

from ingestd.config import options as cfg
from ingestd.sinks.sqlite.encode import Kind
from ingestd.stores.sqlite.table_check import names, quoted, stored_columns

NUMERIC_COLLATION = "ingestd_numeric"
"""Compares numbers that are kept as text."""


class TableSql:
    """Composes statements from quoted names and the configuration, never from a record."""

    def __init__(self, pipeline: cfg.Pipeline):
        table = pipeline.table
        self._pipeline = pipeline
        self._name = quoted(table.name)
        self.columns = [column.name for column in stored_columns(pipeline)]
        self._key = list(table.key)
        self._mark = table.delete.mark if table.delete and table.delete.how == "soft" else None
        # A batch uses few; they are long, and SQLite's own cache goes by the text.
        self.insert = lru_cache(maxsize=256)(self._insert)
        self.add = lru_cache(maxsize=64)(self._add)
        self.existing = lru_cache(maxsize=16)(self._existing)

    def _insert(self, kind: Kind, rows: int, guarded: bool = True) -> str:
        """INSERT of so many rows of this kind; the table's mode says what a conflict does."""
        into = self._add(kind, rows)
        mode = self._pipeline.table.mode
        if mode == "append":
            return into
        conflict = f"{into} ON CONFLICT ({names(self._key)}) DO"
        if mode == "insert" or (kind.replayed and guarded and not self.is_guarded):
            return f"{conflict} NOTHING"
        where = f" WHERE {self._guard(kind, 'excluded.{}')}" if guarded and self.is_guarded else ""
        return f"{conflict} UPDATE SET {self._assignments(kind, 'excluded.{}')}{where}"

    def _add(self, kind: Kind, rows: int) -> str:
        """INSERT of so many rows of this kind that fails where a key is there."""
        columns = names(self.columns)
        values = ", ".join("?" * len(self.columns))
        if self._mark is not None:
            columns, values = f"{columns}, {quoted(self._mark)}", f"{values}, {int(kind.deletes)}"
        return f"INSERT INTO {self._name} ({columns}) VALUES " + ", ".join([f"({values})"] * rows)

    def update(self, kind: Kind, guarded: bool = True) -> str:
        """UPDATE of the row of one key, from the same values as INSERT.

        INSERT refuses a null in a NOT NULL column also where the row is there and keeps what it has.
        """
        numbers = {quoted(name): f"?{n}" for n, name in enumerate(self.columns, 1)}
        conditions = [f"{quoted(name)} = {numbers[quoted(name)]}" for name in self._key]
        if guarded and self.is_guarded:
            conditions.append(self._guard(kind, numbers))
        elif guarded and kind.replayed:
            conditions.append("0")
        # Every value must be bound, also those that are kept.
        conditions.append(f"?{len(self.columns)} IS ?{len(self.columns)}")
        return f"UPDATE {self._name} SET {self._assignments(kind, numbers)} WHERE {' AND '.join(conditions)}"

    def _existing(self, rows: int) -> str:
        """How many of so many keys are in the table."""
        if len(self._key) == 1:
            return f"SELECT count(*) FROM {self._name} WHERE {names(self._key)} IN ({', '.join('?' * rows)})"
        one = f"({', '.join('?' * len(self._key))})"
        keys = ", ".join([one] * rows)
        return f"SELECT count(*) FROM {self._name} WHERE ({names(self._key)}) IN (VALUES {keys})"

    def delete(self) -> str:
        """DELETE of the row of one key."""
        return f"DELETE FROM {self._name} WHERE " + " AND ".join(f"{quoted(name)} = ?" for name in self._key)

    @property
    def version(self) -> Sequence[str] | None:
        """The columns that order the records of a key; None: their offsets do."""
        version = self._pipeline.table.version
        if version == "offset":
            return None
        return (version,) if isinstance(version, str) else version

    @property
    def is_guarded(self) -> bool:
        """Whether the table's own columns tell which record is later."""
        return self.version is not None and set(self.version) <= set(self.columns)

    def _assignments(self, kind: Kind, new: str | dict[str, str]) -> str:
        written = [quoted(name) for name in self.columns if name not in self._key and name not in kind.kept]
        parts = [f"{name} = {_value(new, name)}" for name in written]
        if self._mark is not None:
            parts.append(f"{quoted(self._mark)} = {int(kind.deletes)}")
        first = quoted(self._key[0])
        return ", ".join(parts) or f"{first} = {first}"

    def _guard(self, kind: Kind, values: str | dict[str, str]) -> str:
        """Whether the record is later than the stored row; null is the oldest, of equals the later one wins."""
        types = {column.name: column.type for column in self._pipeline.column}
        guard = "0" if kind.replayed else "1"
        for name in reversed(self.version or ()):
            collation = NUMERIC_COLLATION if types[name].startswith(("numeric", "decimal")) else "BINARY"
            new, old = _value(values, quoted(name)), f"{self._name}.{quoted(name)}"
            newer = f"{new} > {old} COLLATE {collation} OR ({old} IS NULL AND {new} IS NOT NULL)"
            same = f"{new} IS {old} COLLATE {collation}"
            guard = f"({newer} OR ({same} AND {guard}))"
        return f"ifnull({guard}, 0)"


def _value(new: str | dict[str, str], column: str) -> str:
    """The record's value of a quoted column: a pattern for its name, or its parameter."""
    return new.format(column) if isinstance(new, str) else new[column]
