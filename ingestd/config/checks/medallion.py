"""What the options of stage and current tables must not say. Knows no records, no servers and no files."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.checks.lake import PARTITION
from ingestd.config.medallion import Medallion, MedallionTable
from ingestd.config.options import Pipeline
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

STAGE_COLUMNS: dict[str, str] = {
    "_op": "text",
    "_deleted": "bool",
    "_lsn": "int8",
    "_ts": "timestamptz",
    "_topic": "text",
    "_partition": "int4",
    "_offset": "int8",
    "_run_id": "text",
    "_absent": "text[]",
}
"""Columns of every stage table besides those of the row, with their types."""
NEEDED_SOURCES = ("value", "key", "topic", "partition", "offset", "timestamp", "run")
"""Of the bronze columns: without any of these a stage table cannot be made."""
_DATED = ("timestamptz", "timestamp", "date")


def check_medallions(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction of stage and current tables, within themselves and with the bronze lake."""
    for index, pipeline in enumerate(pipelines):
        if pipeline.medallion is None:
            continue
        path = f"pipeline[{index}]"
        for option, message in _problems(pipeline, pipeline.medallion):
            if not findings.spoiled(f"{path}.{option}"):
                findings.add(f"{path}.{option}", message)


def _problems(pipeline: Pipeline, medallion: Medallion) -> Iterator[tuple[str, str]]:
    if pipeline.format != "raw":
        yield (
            "medallion",
            f'is made of a bronze lake: of records as they are; write format = "raw", not "{pipeline.format}"',
        )
        return
    if pipeline.lake is None:
        yield "medallion", "is made of a lake; write [pipeline.lake]"
        return
    sources = {column.source: column for column in pipeline.column if column.stored}
    if missing := [source for source in NEEDED_SOURCES if source not in sources]:
        yield "column", f"has none with source = {', '.join(missing)}; stage tables need one of each"
    elif not pipeline.lake.partition_by or pipeline.lake.partition_by[0] != sources["run"].name:
        yield "lake.partition_by", f'must begin with "{sources["run"].name}": runs are compacted and staged one by one'
    elif pipeline.lake.columns and (
        left := [c.name for s, c in sources.items() if s in NEEDED_SOURCES and c.name not in pipeline.lake.columns]
    ):
        yield "lake.columns", f"leaves out {', '.join(left)}, which stage tables need"
    if pipeline.lake.compact is not None and pipeline.lake.compact.into is None:
        yield "lake.compact.into", "is missing: stage tables are made of the compacted events of a run"
    for option in ("stage", "current"):
        if "://" in (getattr(medallion, option) or pipeline.lake.path or ""):
            yield f"medallion.{option}", "must be a local directory"
    for number, table in enumerate(medallion.table or ()):
        for option, message in _table_problems(table):
            yield f"medallion.table[{number}].{option}", message


def _table_problems(table: MedallionTable) -> Iterator[tuple[str, str]]:
    if table.columns == "from_events" and table.column:
        yield "column", 'is not declared with columns = "from_events"; write columns = "declared", or remove them'
        return
    if table.columns == "declared":
        if not table.column:
            yield "column", "is missing; declare the columns"
        if not table.key:
            yield "key", 'is missing; name the primary key: key = ["id"]'
    columns = {column.name: column.type for column in table.column} | STAGE_COLUMNS
    for number, column in enumerate(table.column):
        if column.name in STAGE_COLUMNS:
            yield f"column[{number}].name", f'"{column.name}" is a column of every stage table; name it otherwise'
        if column.source != "value":
            yield f"column[{number}].source", "is the value's, the row after the change; remove it"
        if not column.stored:
            yield f"column[{number}].stored", "means nothing in a stage table; remove it"
    for name in table.key if table.column else ():
        if name not in columns or name in STAGE_COLUMNS:
            yield "key", f'"{name}" is not a declared column; declared: {", ".join(c.name for c in table.column)}'
    for written in table.partition_by or ():
        made = PARTITION.fullmatch(written)
        name = made["of"] if made else written
        if name not in columns:
            if table.column or name.startswith("_"):
                yield "partition_by", f'"{name}" is no column of the stage table; there are: {", ".join(columns)}'
        elif made and not _is_dated(columns[name]):
            yield "partition_by", f'"{written}": {name} is {columns[name]}, not a timestamp or date'


def _is_dated(written: str) -> bool:
    try:
        return parse_type(written).name in _DATED
    except ValueError:
        return True  # told of where the type is
