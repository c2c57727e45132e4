"""What the options of an upsert's table must not say: key, version and deletes. Knows no records and no servers."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.options import Column, Delete, Pipeline, Table
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

_ORDER = "offset"


def check_tables(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction of `[pipeline.table]` with upsert; options that are already spoiled are left alone."""
    for index, pipeline in enumerate(pipelines):
        path = f"pipeline[{index}].table"
        if pipeline.table is None or findings.spoiled(f"{path}.mode"):
            continue
        found = [one for one in _problems(pipeline, pipeline.table) if not findings.spoiled(f"{path}.{one[0]}")]
        for option, message in found:
            findings.add(f"{path}.{option}", message)


def _problems(pipeline: Pipeline, table: Table) -> Iterator[tuple[str, str]]:
    versions = (table.version,) if isinstance(table.version, str) else tuple(table.version or ())
    if table.mode != "upsert":
        if versions != (_ORDER,):
            yield "version", 'is for mode = "upsert"; write that, or remove it'
        if table.delete is not None:
            yield "delete", 'is for mode = "upsert"; write that, or remove it'
        return
    from_events = pipeline.cdc is not None and pipeline.cdc.columns == "from_events"
    if not table.key and not from_events:
        yield "key", 'is missing; mode = "upsert" needs the columns that make a row unique: key = ["id"]'
    columns = {column.name: column for column in pipeline.column}
    for name in table.key or ():
        if name in columns and not _comparable(columns[name]):
            yield "key", f'column "{name}" is {columns[name].type}, which is no key; choose a single value'
    for message in _version_problems(table, versions, columns):
        yield "version", message
    if table.delete is not None:
        yield from _delete_problems(table.delete, columns)


def _version_problems(table: Table, versions: tuple[str, ...], columns: dict[str, Column]) -> Iterator[str]:
    if not versions:
        yield 'is empty; name the column that tells which record is later, or write "offset"'
    hard = table.delete is not None and table.delete.how == "hard"
    for index, name in enumerate(versions):
        if name in versions[:index]:
            yield f'names "{name}" twice'
        elif name == _ORDER and len(versions) == 1:
            continue
        elif name not in columns:
            if columns:
                hint = ', or add one with source = "offset"' if name == _ORDER else ""
                yield f'"{name}" is not a declared column; declared: {", ".join(map(str, columns))}{hint}'
        else:
            yield from _column_problems(columns[name], table, hard)


def _column_problems(column: Column, table: Table, hard: bool) -> Iterator[str]:
    name = column.name
    if name in (table.key or ()):
        yield f'"{name}" is in the key, so it is the same for all records of a row; name another column'
    if not _comparable(column):
        yield f'column "{name}" is {column.type}, which has no order; choose a number, a time or a text'
    if column.source in ("now", "run"):
        yield f'column "{name}" comes from "{column.source}": a replay would be later; take a field of the record'
    if column.keep_when_absent:
        yield f'column "{name}" has keep_when_absent; a record without a version is the oldest of all: remove that'
    if not column.stored and not hard:
        yield f'column "{name}" is not stored, so no row can tell its version; remove stored = false'


def _delete_problems(delete: Delete, columns: dict[str, Column]) -> Iterator[tuple[str, str]]:
    if not delete.when and not delete.tombstone:
        yield "delete", 'deletes nothing; write when = { event_type = "delete" }, or tombstone = true'
    if delete.how == "hard" and delete.mark is not None:
        yield "delete.mark", 'is for how = "soft": a hard delete leaves no row to mark; remove it'
    elif delete.mark is not None and delete.mark in columns:
        yield "delete.mark", f'"{delete.mark}" is a declared column, filled from records; name another, or remove that'
    if delete.how == "soft" and delete.retention is not None:
        yield "delete.retention", 'is for how = "hard": the row of a soft delete stays; remove it'


def _comparable(column: Column) -> bool:
    try:
        kind = parse_type(column.type)
    except (ValueError, AttributeError):
        return True  # noted at the column
    return not kind.is_array and kind.scalar != "jsonb"
