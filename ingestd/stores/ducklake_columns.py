"""Columns, name mappings and partitions of one table in a DuckLake catalogue. Knows no file and no database.

Files are mapped by the names of their columns, never by field ids: those are positions, and a column that somebody
writes between two others would be read as its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ingestd.stores.ducklake_types import Change, FileColumn, Transform, common_type

_LIST = "list"
"""Type of a list, and what DuckDB calls its elements in a Parquet file."""

Mapping = tuple[tuple[str, int, int | None], ...]
"""(name in the file, column, place of the list it belongs to) for each column, lists before their elements."""


class Known(Struct):
    """A column as the catalogue has it."""

    column_id: int
    type: str
    element: Known | None = None


def adapt(change: Change, files: Sequence[Sequence[FileColumn]]) -> dict[str, Known]:
    """The table's columns, with all that the files bring: new ones, and types that hold both old and new values."""
    known = _known(change)
    changed = False
    for column in {column: None for columns in files for column in columns}:
        mine = known.get(column.name)
        if mine is None:
            known[column.name] = _add(change, column)
            changed = True
            continue
        changed |= _widen(change, column.name, mine, column.type, None)
        if mine.element is not None and column.element is not None:
            changed |= _widen(change, "element", mine.element, column.element, mine.column_id)
    if changed:
        change.schema_version += 1
        change.run(
            "add_schema_version",
            table_id=change.table_id,
            snapshot=change.snapshot,
            schema_version=change.schema_version,
        )
        change.said.append(f"altered_table:{change.table_id}")
    return known


def _known(change: Change) -> dict[str, Known]:
    rows: list[Any] = change.run("columns", table_id=change.table_id)
    found = {row[0]: Known(row[0], row[2]) for row in rows}
    for column_id, _, _, parent, _ in rows:
        if parent is not None:
            found[parent].element = found[column_id]
    return {row[1]: found[row[0]] for row in rows if row[3] is None}


def _add(change: Change, column: FileColumn) -> Known:
    last: Any = change.run("last_column_id", table_id=change.table_id)[0][0]
    made = Known(last + 1, column.type)
    _insert(change, made.column_id, column.name, column.type, None)
    if column.element is not None:
        made.element = Known(last + 2, column.element)
        _insert(change, last + 2, "element", column.element, made.column_id)
    return made


def _widen(change: Change, name: str, mine: Known, kind: str, parent: int | None) -> bool:
    wanted = common_type(mine.type, kind)
    if wanted == mine.type or _LIST in (mine.type, kind):
        return False
    mine.type = wanted
    change.run("end_column", table_id=change.table_id, column_id=mine.column_id, snapshot=change.snapshot)
    change.run("drop_new_column", table_id=change.table_id)  # when this very snapshot has made it
    _insert(change, mine.column_id, name, wanted, parent)
    return True


def _insert(change: Change, column_id: int, name: str, kind: str, parent: int | None) -> None:
    change.run(
        "add_column",
        column_id=column_id,
        snapshot=change.snapshot,
        table_id=change.table_id,
        label=name,
        type=kind,
        parent=parent,
    )


def mapping_id(change: Change, known: dict[str, Known], columns: Sequence[FileColumn]) -> int:
    """The mapping of files with these columns; made when there is none."""
    wanted: list[tuple[str, int, int | None]] = []
    for column in columns:
        mine = known[column.name]
        wanted.append((column.name, mine.column_id, None))
        if mine.element is not None:
            wanted.append((_LIST, mine.element.column_id, len(wanted) - 1))
    for found, mapping in _mappings(change).items():
        if mapping == tuple(wanted):
            return found
    made = change.take_file_id()
    change.run("add_mapping", mapping_id=made, table_id=change.table_id)
    for number, (name, column_id, parent) in enumerate(wanted):
        change.run("add_name", mapping_id=made, number=number, source_name=name, column_id=column_id, parent=parent)
    return made


def _mappings(change: Change) -> dict[int, Mapping]:
    found: dict[int, list[tuple[str, int, int | None]]] = {}
    rows: list[Any] = change.run("mappings", table_id=change.table_id)
    for number, name, column_id, parent in rows:
        found.setdefault(number, []).append((name, column_id, parent))
    return {number: tuple(mapping) for number, mapping in found.items()}


def partition_id(change: Change, known: dict[str, Known], transforms: Sequence[Transform]) -> int | None:
    """The table's partitioning; another one than before when the configuration says so. None: it has none."""
    rows: list[Any] = change.run("partitions", table_id=change.table_id)
    wanted = [(known[one.column].column_id, one.transform) for one in transforms if one.column in known]
    if rows and [(row[1], row[2]) for row in rows] == wanted:
        return int(rows[0][0])
    if rows:
        change.run("end_partitions", table_id=change.table_id, snapshot=change.snapshot)
    if len(wanted) < len(transforms) or not wanted:
        return None
    made = change.take_catalog_id()
    change.run("add_partitions", partition_id=made, table_id=change.table_id, snapshot=change.snapshot)
    for number, (column_id, transform) in enumerate(wanted):
        change.run(
            "add_partition_column",
            partition_id=made,
            table_id=change.table_id,
            number=number,
            column_id=column_id,
            transform=transform,
        )
    return made
