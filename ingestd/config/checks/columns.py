"""What columns must not say together: sources, paths, deletes, unknown fields, contract versions. Knows no servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ingestd.config.options import Column, Contract, Pipeline
from ingestd.config.values import Findings
from ingestd.schema.types import ColumnType, parse_type

_TEXTS = ("text", "varchar")
_INTEGERS = ("int2", "int4", "int8")
_TYPES: dict[str, tuple[str, ...]] = {
    "key": (*_TEXTS, "bytea", "uuid", *_INTEGERS, "jsonb"),
    "headers": ("jsonb",),
    "topic": _TEXTS,
    "partition": ("int4", "int8"),
    "offset": ("int8",),
    "timestamp": ("timestamptz", "timestamp", "epoch", "int8"),
    "now": ("timestamptz", "timestamp", "epoch", "int8", *_TEXTS),
    "run": (*_TEXTS, "uuid"),
}
_OWN_PREFIX = "ingestd_"
"""Staging has columns of its own beside those of the table."""
_READ_FROM_VALUES = ("default", "epoch", "assume_utc", "keep_when_absent")


def check_columns(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction between columns, and between them and the other options of their pipeline."""
    for index, pipeline in enumerate(pipelines):
        path = f"pipeline[{index}]"
        for place, message in _problems(pipeline):
            if not findings.spoiled(f"{path}.{place}"):
                findings.add(f"{path}.{place}", message)


def _problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    for place, columns in _groups(pipeline):
        for index, column in enumerate(columns):
            for option, message in _source_problems(column):
                yield f"{place}column[{index}].{option}", message
            if column.name is not None and column.name.startswith(_OWN_PREFIX):
                message = (
                    f'"{column.name}" begins with {_OWN_PREFIX}, like columns that ingestd adds; name it otherwise'
                )
                yield f"{place}column[{index}].name", message
    yield from _use_problems(pipeline)
    yield from _unknown_problems(pipeline)
    yield from _version_problems(pipeline)
    if pipeline.table is not None and pipeline.table.delete is not None:
        yield from _delete_problems(pipeline)


def _groups(pipeline: Pipeline) -> Iterator[tuple[str, tuple[Column, ...]]]:
    yield "", pipeline.column
    for index, contract in enumerate(pipeline.contract):
        yield f"contract[{index}].", contract.column


def check_paths(columns: tuple[Column, ...], path: str, findings: Findings) -> None:
    """A place in the value, or in the key, is one value or an object with values inside, and read by one column."""
    for source in ("value", "key"):
        places = {
            index: column.path or column.name
            for index, column in enumerate(columns)
            if column.name and column.source == source and (source == "value" or column.path is not None)
        }
        _check_places(columns, places, path, findings)


def _check_places(columns: tuple[Column, ...], places: dict[int, str], path: str, findings: Findings) -> None:
    readers: dict[str, int] = {}
    for index, place in places.items():
        where = f"{path}.column[{index}].path"
        if "" in place.split("."):
            findings.add(where, f'"{place}" has an empty step; write names with single dots, such as "payload.id"')
        elif any(mark in place for mark in '"\\') or not place.isprintable():
            said = "has a quote, a backslash or a control character, which the decoder cannot look for"
            findings.add(where, f"{place!r} {said}; name the field of the record by path")
        elif place in readers and columns[index].path is not None:
            findings.add(where, f'"{place}" is already read by column[{readers[place]}]; remove one')
        readers.setdefault(place, index)
    for index, place in places.items():
        inner = next((other for other in places.values() if other.startswith(place + ".")), None)
        if inner is not None:
            findings.add(
                f"{path}.column[{index}].{'path' if columns[index].path else 'name'}",
                f'"{place}" is read as one value, but column[{readers[inner]}] reads "{inner}" in it; keep one of them',
            )


def _kind(column: Column) -> ColumnType | None:
    try:
        return parse_type(column.type)
    except (ValueError, AttributeError):
        return None


def _source_problems(column: Column) -> Iterator[tuple[str, str]]:
    """Of one column: what its source cannot give."""
    source, kind = column.source, _kind(column)
    if source == "value" or source is None or (source == "key" and column.path is not None):
        return
    if column.path is not None:
        yield "path", f'means nothing with source = "{source}"; remove it'
    if kind is not None and (kind.is_array or kind.scalar not in _TYPES[source]):
        beside = "; or name a field of a JSON key by path" if source == "key" else ""
        yield "type", f'{kind.name} cannot hold source = "{source}"; write {" or ".join(_TYPES[source])}{beside}'
    for option in _READ_FROM_VALUES:
        if getattr(column, option):
            yield option, f'means nothing with source = "{source}"; remove it'


def _use_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    key = pipeline.table.key if pipeline.table is not None else ()
    mode = pipeline.table.mode if pipeline.table is not None else None
    for index, column in enumerate(pipeline.column):
        place = f"column[{index}]"
        if not column.stored and column.name in key:
            yield f"{place}.stored", f'"{column.name}" is in table.key, so it must be stored; remove stored = false'
        if not column.keep_when_absent:
            continue
        if mode not in (None, "upsert"):
            yield f"{place}.keep_when_absent", 'is for mode = "upsert"; remove it'
        elif column.required:
            yield f"{place}.keep_when_absent", "does not go with required = true: the field is never absent; remove one"
    if pipeline.column and not any(column.stored for column in pipeline.column):
        yield "column", "has no column that is stored; the table needs one"


def _unknown_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    name, columns = pipeline.unknown_column, {column.name: column for column in pipeline.column}
    if pipeline.unknown_fields != "keep":
        if name is not None:
            yield "unknown_column", 'is only used with unknown_fields = "keep"; add that, or remove it'
        if pipeline.unknown_fields == "dead_letter" and pipeline.on_new_field == "evolve":
            yield "on_new_field", 'does not go with unknown_fields = "dead_letter"; keep one of them'
        return
    if name is None:
        yield "unknown_column", 'is missing; with unknown_fields = "keep" it names the jsonb column that takes them'
        return
    column = columns.get(name)
    if column is None:
        yield "unknown_column", f'"{name}" is not a declared column; add {{ name = "{name}", type = "jsonb" }}'
        return
    kind = _kind(column)
    if kind is not None and kind.name != "jsonb":
        yield "unknown_column", f'"{name}" is {kind.name}; it must be jsonb'
    wrong = [option for option in ("path", "required", "default", "keep_when_absent") if getattr(column, option)]
    wrong += [] if column.source == "value" else ["source"]
    wrong += [] if column.stored else ["stored"]
    if wrong:
        yield "unknown_column", f'column "{name}" takes the unknown fields; remove its {", ".join(wrong)}'


def _version_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    if pipeline.contract and pipeline.version_field is None:
        yield "version_field", "is missing; it names the field that tells the contract's version"
    if pipeline.version_field is not None:
        if not pipeline.contract:
            yield "version_field", "is only used with [[pipeline.contract]]; add one, or remove it"
        if "" in pipeline.version_field.split(".") or not pipeline.version_field.isprintable():
            yield "version_field", 'must be a field\'s name, with single dots into objects: "meta.version"'
    times = Counter((type(contract.version), contract.version) for contract in pipeline.contract)
    for index, contract in enumerate(pipeline.contract):
        place = f"contract[{index}]"
        if times[type(contract.version), contract.version] > 1:
            yield f"{place}.version", f"{contract.version!r} is declared more than once; give each its own"
        for inner, message in _contract_problems(pipeline, contract):
            yield f"{place}.{inner}", message


def _contract_problems(pipeline: Pipeline, contract: Contract) -> Iterator[tuple[str, str]]:
    declared = {column.name: column for column in pipeline.column}
    own = {column.name for column in contract.column}
    for index, column in enumerate(contract.column):
        place, table = f"column[{index}]", declared.get(column.name)
        if table is None:
            known = ", ".join(map(str, declared))
            yield f"{place}.name", f'"{column.name}" is not a column of the table; declared: {known}'
            continue
        kind, wanted = _kind(column), _kind(table)
        if kind is not None and wanted is not None and kind != wanted:
            yield f"{place}.type", f"is {kind.name}, in the table {wanted.name}; write the same"
        if table.required and not column.required and column.default is None:
            yield f"{place}.required", f'"{column.name}" is required in the table; write required = true, or a default'
        if column.name == pipeline.unknown_column:
            yield f"{place}.name", f'"{column.name}" takes the unknown fields of every version; remove it here'
    for name, column in declared.items():
        if name not in own and column.required and column.default is None and column.source in ("value", "key"):
            yield "column", f'leaves out "{name}", which is required in the table; add it'


def _delete_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    table = pipeline.table
    assert table.delete is not None
    readers = {column.path or column.name: column for column in pipeline.column if column.source == "value"}
    for field, value in table.delete.when.items():
        column = readers.get(field)
        if column is None:
            mend = f'add {{ name = "..", path = "{field}", type = "text", stored = false }}'
            yield "table.delete.when", f'"{field}" is read by no column; {mend}'
        elif (kind := _kind(column)) is not None and not _comparable(value, kind):
            yield "table.delete.when", f'"{field}" is read as {kind.name}; write a value of that type'
    if not table.delete.tombstone:
        return
    sources = {column.name: column.source for column in pipeline.column}
    for name in table.key:
        if sources.get(name, "value") not in ("value", "key"):
            yield "table.delete.tombstone", f'needs a key that is in the records\' keys; "{name}" is not'
    versions = (table.version,) if isinstance(table.version, str) else table.version or ()
    for name in versions:
        if name != "offset" and sources.get(name) == "value":
            yield (
                "table.delete.tombstone",
                f'does not go with version = "{name}": a record without a value has none; '
                'write version = "offset", or a column with source = "timestamp"',
            )


def _comparable(value: str | int | float | bool, kind: ColumnType) -> bool:
    if kind.is_array or kind.scalar == "jsonb":
        return False
    if isinstance(value, bool) or kind.scalar == "bool":
        return isinstance(value, bool) and kind.scalar == "bool"
    if kind.scalar in _INTEGERS:
        return isinstance(value, int)
    if kind.scalar in ("float4", "float8", "numeric", "epoch"):
        return isinstance(value, int | float)
    return isinstance(value, str)
