"""A DuckLake catalogue beside the manifest: every change of the manifest is a snapshot, in the same transaction.

Knows no database (a `Dialect` does) and no Parquet. The format is 1.0, which DuckDB 1.5 reads and writes.

A reader may get an error, never a wrong number: files are named where they will be once they are settled, so that who
comes between commit and settling finds no file; and a file that is replaced keeps its place in older snapshots, though
it is gone from the disk.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from ingestd.errors import Halt
from ingestd.stores.ducklake_columns import Known, adapt, mapping_id, partition_id
from ingestd.stores.ducklake_types import Change, Describe, Described, Entry, Transform
from ingestd.stores.statements import load_statements

VERSION = "1.0"
_WORD = re.compile(r"\{(\w+)\}")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class Dialect(Protocol):
    """How a store says it."""

    words: Mapping[str, str]
    """What stands for the {words} of the statements."""

    def run(self, cursor: Any, statement: str, values: Mapping[str, Any]) -> list[Any]:
        """Execute one statement with ":name" parameters, lists among them; its rows, if any."""
        ...

    def run_many(self, cursor: Any, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one statement for each row, without waiting in between."""
        ...

    def is_there(self, cursor: Any) -> bool:
        """Whether the catalogue has its tables."""
        ...

    def make(self, connection: Any, statements: Sequence[str]) -> bool:
        """Begin to make the catalogue; False when somebody else was first. The transaction stays open.

        Raises: Halt when this role may not.
        """
        ...

    def begin(self, connection: Any) -> Any:
        """A cursor in a transaction in which only this one makes snapshots."""
        ...

    def lock(self, cursor: Any) -> None:
        """From here to the end of the cursor's transaction only this one makes snapshots."""
        ...

    def commit(self, connection: Any) -> None: ...


class DuckLake:
    """The table of one pipeline in a catalogue, which may have others'."""

    def __init__(self, dialect: Dialect, pipeline: str, root: str, partitions: Sequence[Transform], describe: Describe):
        self._dialect = dialect
        self._pipeline = pipeline
        self._path = root.rstrip("/") + "/"
        self._partitions = partitions
        self._describe = describe
        statements = load_statements("ducklake.sql")
        self._sql = {
            name: _WORD.sub(lambda word: dialect.words[word[1]], text.decode()) for name, text in statements.items()
        }
        self._last: tuple[Any, int] | None = None
        """The cursor of the last snapshot and its number: one transaction makes one snapshot."""

    def prepare(self, connection: Any) -> None:
        """The catalogue is there, with exactly the files of the manifest; the connection has no open transaction.

        Files that were committed while nobody kept the catalogue are added, in one snapshot.
        Raises: Halt when the catalogue is of another version, or this role may not make it.
        """
        cursor = connection.cursor()
        if not self._dialect.is_there(cursor):
            self._make(connection)
        version = self._run(cursor, "version")
        if not version or version[0][0] != VERSION:
            found = version[0][0] if version else "unknown"
            raise Halt(
                f"pipeline {self._pipeline}: the DuckLake catalogue is of version {found}, ingestd keeps {VERSION}; "
                "name another one in lake.ducklake: it is filled from the manifest"
            )
        added, surplus = self._difference(cursor)
        self._dialect.commit(connection)
        if added or surplus:
            # Their footers are read before anybody has to wait for this transaction.
            footers = {entry.key: footer for entry, footer in zip(added, self._describe(added), strict=True)}
            self._mend(connection, footers)

    def _mend(self, connection: Any, footers: Mapping[str, Described]) -> None:
        cursor = self._dialect.begin(connection)
        self._dialect.lock(cursor)
        added, surplus = self._difference(cursor)
        pairs = [(entry, footers.get(entry.key) or self._describe([entry])[0]) for entry in added]
        self._change(cursor, pairs, surplus)
        self._dialect.commit(connection)

    def _make(self, connection: Any) -> None:
        creating = [text for name, text in self._sql.items() if name.startswith("create_")]
        if self._dialect.make(connection, creating):
            cursor = connection.cursor()
            entries = {"version": VERSION, "created_by": "ingestd", "data_path": self._path, "encrypted": "false"}
            for key, value in entries.items():
                self._run(cursor, "first_metadata", key=key, value=value)
            self._run(cursor, "first_schema", uuid=str(uuid.uuid4()))
            numbers = {"schema_version": 0, "next_catalog_id": 1, "next_file_id": 0}
            self._run(cursor, "add_snapshot", snapshot=0, **numbers)
            self._run(cursor, "add_snapshot_changes", snapshot=0, changes='created_schema:"main"')
        self._dialect.commit(connection)

    def add(self, cursor: Any, files: Sequence[Entry]) -> None:
        """New files of the manifest, in the transaction that adds them there."""
        if files:
            footers = self._describe(files)
            self._dialect.lock(cursor)
            self._change(cursor, list(zip(files, footers, strict=True)), [])

    def remove(self, cursor: Any, ids: Sequence[int]) -> None:
        """These files of the manifest are replaced, in the transaction that marks them so."""
        if ids:
            self._dialect.lock(cursor)
            paths = [row[0] for row in self._run(cursor, "keys_of", pipeline=self._pipeline, ids=list(ids))]
            self._change(cursor, [], paths)

    def _run(self, cursor: Any, name: str, **values: Any) -> list[Any]:
        return self._dialect.run(cursor, self._sql[name], values)

    def _difference(self, cursor: Any) -> tuple[list[Entry], list[str]]:
        """Files that only the manifest has, and paths that only the catalogue has."""
        table = self._run(cursor, "find_table", label=self._pipeline)
        have = {row[0] for row in self._run(cursor, "live_paths", table_id=table[0][0])} if table else set()
        rows = self._run(cursor, "manifest_files", pipeline=self._pipeline)
        entries = [Entry(**dict(zip(Entry.__struct_fields__, row, strict=True))) for row in rows]
        return [entry for entry in entries if entry.key not in have], sorted(have - {entry.key for entry in entries})

    def _change(self, cursor: Any, added: Sequence[tuple[Entry, Described]], removed: Sequence[str]) -> None:
        change = self._begin_change(cursor)
        self._find_table(change)
        if removed:
            self._remove(change, removed)
        if added:
            known = adapt(change, [footer.columns for _, footer in added])
            partitions = partition_id(change, known, self._partitions)
            self._add(cursor, change, known, partitions, added)
            change.said.append(f"inserted_into_table:{change.table_id}")
        self._finish(change)
        self._last = cursor, change.snapshot

    def _begin_change(self, cursor: Any) -> Change:
        number, schema_version, next_catalog_id, next_file_id = self._run(cursor, "last_snapshot")[0]
        is_new = self._last is None or self._last[0] is not cursor or self._last[1] != number
        return Change(
            run=lambda name, **values: self._run(cursor, name, **values),
            snapshot=number + 1 if is_new else number,
            schema_version=schema_version,
            next_catalog_id=next_catalog_id,
            next_file_id=next_file_id,
            is_new=is_new,
        )

    def _find_table(self, change: Change) -> None:
        found: Any = change.run("find_table", label=self._pipeline)
        if found:
            change.table_id = found[0][0]
            if found[0][1] != self._path:
                change.run("move_table", table_id=change.table_id, path=self._path)
            return
        change.table_id = change.take_catalog_id()
        values = {"uuid": str(uuid.uuid4()), "label": self._pipeline, "path": self._path}
        change.run("add_table", table_id=change.table_id, snapshot=change.snapshot, **values)
        change.run("first_table_stats", table_id=change.table_id)
        quoted = self._pipeline.replace('"', '""')
        change.said.append(f'created_table:"main"."{quoted}"')

    def _add(
        self,
        cursor: Any,
        change: Change,
        known: dict[str, Known],
        partitions: int | None,
        added: Sequence[tuple[Entry, Described]],
    ) -> None:
        mappings: dict[tuple[str, ...], int] = {}
        rows: dict[str, list[dict[str, Any]]] = {"add_file": [], "add_file_stats": [], "add_partition_value": []}
        next_row_id: Any = change.run("table_stats", table_id=change.table_id)[0][0]
        for entry, footer in added:
            names = tuple(column.name for column in footer.columns)
            if names not in mappings:
                mappings[names] = mapping_id(change, known, footer.columns)
            values = self._partition_values(entry) if partitions is not None else None
            ids = {"file_id": change.take_file_id(), "table_id": change.table_id}
            file = {
                "path": entry.key,
                "rows": entry.rows,
                "nbytes": entry.nbytes,
                "footer_size": footer.footer_size,
                "row_id_start": next_row_id,
                "partition_id": None if values is None else partitions,
                "mapping_id": mappings[names],
            }
            rows["add_file"].append(ids | {"snapshot": change.snapshot} | file)
            rows["add_file_stats"] += [ids | stats for stats in _stats(known, footer)]
            rows["add_partition_value"] += [ids | {"number": n, "value": one} for n, one in enumerate(values or ())]
            next_row_id += entry.rows
        for name, values_of in rows.items():
            if values_of:
                self._dialect.run_many(cursor, self._sql[name], values_of)
        count, nbytes = (sum(getattr(entry, what) for entry, _ in added) for what in ("rows", "nbytes"))
        change.run("add_table_stats", table_id=change.table_id, rows=count, new_rows=count, nbytes=nbytes)

    def _partition_values(self, entry: Entry) -> list[str] | None:
        """None when the directory does not tell them: of null and empty ones, and of those that were cut."""
        pairs = dict(part.partition("=")[::2] for part in entry.directory.split("/") if part)
        found = [pairs.get(one.partition, _NO_VALUE) for one in self._partitions]
        if any(value == _NO_VALUE or "~" in value for value in found):
            return None
        return [
            unquote(value) if one.transform == "identity" else str(int(value))
            for one, value in zip(self._partitions, found, strict=True)
        ]

    def _remove(self, change: Change, paths: Sequence[str]) -> None:
        """End the files' time; what no snapshot shows any more goes, an hour after the last one that did."""
        whose = {"table_id": change.table_id, "paths": list(paths)}
        found: Any = change.run("ended_files", **whose)
        files, rows, nbytes = found[0]
        if not files:
            return
        change.run("end_files", **whose, snapshot=change.snapshot)
        change.run("add_table_stats", table_id=change.table_id, rows=-int(rows), new_rows=0, nbytes=-int(nbytes))
        change.said.append(f"deleted_from_table:{change.table_id}")
        change.run("expire_snapshots", snapshot=change.snapshot)
        for what in ("changes", "stats", "partition_values", "files"):
            change.run(f"expire_{what}")

    def _finish(self, change: Change) -> None:
        verb = "add" if change.is_new else "replace"
        names = ("schema_version", "next_catalog_id", "next_file_id")
        change.run(f"{verb}_snapshot", snapshot=change.snapshot, **{name: getattr(change, name) for name in names})
        change.run(f"{verb}_snapshot_changes", snapshot=change.snapshot, changes=",".join(change.said))


def _stats(known: dict[str, Known], footer: Described) -> list[dict[str, Any]]:
    """Counts and bounds of the columns that have them, unless the table's type is another by now."""
    return [
        {
            "column_id": known[column.name].column_id,
            "nbytes": column.nbytes,
            "values": column.values,
            "nulls": column.nulls,
            "min": column.low,
            "max": column.high,
        }
        for column in footer.columns
        if column.nulls is not None and known[column.name].type == column.type
    ]
