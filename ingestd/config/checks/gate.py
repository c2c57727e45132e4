"""What the options of a gate must not say, alone and beside the table and other pipelines. Knows no database."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.options import Column, Dedupe, Pipeline
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

_OWN_COLUMNS = ("topic", "partition", "offset", "seen_at", "ingestd_row")
_NEVER_REPEAT = ("offset", "now", "run")


def check_gates(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction of `[pipeline.dedupe]`; options that are already spoiled are left alone."""
    first_with: dict[str, int] = {}
    for index, pipeline in enumerate(pipelines):
        dedupe, path = pipeline.dedupe, f"pipeline[{index}].dedupe"
        if dedupe is None:
            continue
        if dedupe.table is not None:
            _check_name(dedupe.table, pipelines, path, findings)
            other = first_with.setdefault(_normal(dedupe.table), index)
            if other != index:
                _check_shared(pipeline, pipelines[other], other, path, findings)
        if not findings.spoiled(f"{path}.key"):
            for message in _key_problems(pipeline, dedupe):
                findings.add(f"{path}.key", message)
        _check_table_options(pipeline, dedupe, path, findings)


def _normal(table: str) -> str:
    return table.removeprefix("public.")


def _key(dedupe: Dedupe) -> tuple[str, ...]:
    return (dedupe.key,) if isinstance(dedupe.key, str) else tuple(dedupe.key or ())


def _check_name(name: str, pipelines: tuple[Pipeline, ...], path: str, findings: Findings) -> None:
    parts = name.split(".")
    if len(parts) > 2 or "" in parts:
        findings.add(f"{path}.table", f'"{name}" must be "table" or "schema.table"')
    if any(len(part.encode()) > 63 or "\0" in part for part in parts):
        findings.add(f"{path}.table", "is longer than the 63 bytes that PostgreSQL keeps; shorten it")
    if parts[0] == "ingestd" and len(parts) == 2:
        findings.add(f"{path}.table", f'"{name}" is in the schema of the ledger; name one in another schema')
    for index, pipeline in enumerate(pipelines):
        table = pipeline.table.name if pipeline.table is not None else None
        if table is not None and _normal(table) == _normal(name):
            findings.add(
                f"{path}.table",
                f'"{name}" is the table of pipeline[{index}]; the gate needs one of its own, such as "{name}_seen"',
            )


def _key_problems(pipeline: Pipeline, dedupe: Dedupe) -> Iterator[str]:
    key = _key(dedupe)
    columns = {column.name: column for column in pipeline.column}
    if not key:
        yield 'is empty; name the column whose value may come once: key = "event_id"'
    for index, name in enumerate(key):
        if name in key[:index]:
            yield f'names "{name}" twice'
        elif name in columns:
            yield from _column_problems(columns[name])
        elif columns:
            yield f'"{name}" is not a declared column; declared: {", ".join(map(str, columns))}'
    for index, contract in enumerate(pipeline.contract):
        required = {column.name for column in contract.column if column.required}
        for name in key:
            if name in columns and name not in required:
                yield f'column "{name}" may be null in contract[{index}]; declare it there with required = true'


def _column_problems(column: Column) -> Iterator[str]:
    name = column.name
    if name in _OWN_COLUMNS:
        yield f'"{name}" is a column that the gate fills itself; name the column otherwise and read it by path'
    if not column.required:
        yield f'column "{name}" may be null; write required = true for it'
    if column.source in _NEVER_REPEAT:
        yield f'column "{name}" comes from "{column.source}", which no repeat shares; choose a field of the record'
    try:
        kind = parse_type(column.type)
    except (ValueError, AttributeError):
        return  # noted at the column
    if kind.is_array or kind.scalar == "jsonb":
        yield f'column "{name}" is {kind.name}, which is no key; choose a single value'


def _check_table_options(pipeline: Pipeline, dedupe: Dedupe, path: str, findings: Findings) -> None:
    table = pipeline.table
    if table is None or findings.spoiled(f"{path}.key"):
        return
    if table.mode == "upsert" and _key(dedupe) and set(_key(dedupe)) <= set(table.key or ()):
        findings.add(
            f"{path}.key",
            'is in the key of the upsert: no row would ever be updated; name the event\'s id, or write mode = "insert"',
        )
    if table.delete is not None and table.delete.tombstone:
        findings.add(
            path,
            "does not go with table.delete.tombstone: a record without a value has no key for the gate; remove one",
        )


def _check_shared(pipeline: Pipeline, other: Pipeline, index: int, path: str, findings: Findings) -> None:
    """Pipelines may share a gate: then its key and its retention are the same for all."""
    mine, theirs = pipeline.dedupe, other.dedupe
    if mine is None or theirs is None:
        return
    if _key_types(pipeline, mine) != _key_types(other, theirs):
        findings.add(
            f"{path}.key", f"differs from that of pipeline[{index}], which shares the table; name another table"
        )
    if mine.retention != theirs.retention:
        findings.add(
            f"{path}.retention", f"differs from that of pipeline[{index}], which shares the table; write the same"
        )


def _key_types(pipeline: Pipeline, dedupe: Dedupe) -> dict[str, str | None]:
    types = {column.name: column.type for column in pipeline.column}
    return {name: types.get(name) for name in _key(dedupe)}
