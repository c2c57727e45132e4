"""What `[pipeline.cdc]` does not go with: it settles version, deletes and the meaning of absent fields itself."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.options import Cdc, Pipeline
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

_FORMATS = ("json", "avro")


def check_cdc(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction; options that are already spoiled are left alone."""
    for index, pipeline in enumerate(pipelines):
        if pipeline.cdc is None or findings.spoiled(f"pipeline[{index}].cdc"):
            continue
        for option, message in _problems(pipeline, pipeline.cdc):
            path = f"pipeline[{index}].{option}"
            if not findings.spoiled(path):
                findings.add(path, message)


def _problems(pipeline: Pipeline, cdc: Cdc) -> Iterator[tuple[str, str]]:
    if pipeline.format not in (*_FORMATS, None):
        yield "format", f'"{pipeline.format}" holds no change events; write "json" or "avro"'
    if not cdc.unavailable:
        yield "cdc.unavailable", "is empty; write Debezium's unavailable.value.placeholder"
    if pipeline.has_table() and pipeline.table is not None:
        yield from _table_problems(pipeline)
    if pipeline.dedupe is not None:
        yield "dedupe", "does not go with [pipeline.cdc]: every change of a row counts; remove it"
    if pipeline.version_field is not None:
        yield "version_field", "does not go with [pipeline.cdc]: events bring their schema; remove it"
    if pipeline.on_new_field == "evolve":
        yield "on_new_field", 'guesses types; with change events write cdc.columns = "from_events" instead'
    if cdc.columns == "from_events" and pipeline.unknown_fields != "ignore":
        yield "unknown_fields", 'means nothing with cdc.columns = "from_events": no column is unknown; remove it'
    for index, column in enumerate(pipeline.column):
        if column.source == "value" and column.default is not None and column.name != cdc.lsn_column:
            yield f"column[{index}].default", "is what the source's table fills in, and events bring it; remove it"
        if column.name is not None and column.name == cdc.lsn_column and _type_of(column.type) not in (None, "int8"):
            yield "cdc.lsn_column", f'column "{column.name}" is {column.type}; an LSN is an int8'


def _table_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    table = pipeline.table
    if table.mode not in ("upsert", None):
        yield "table.mode", f'"{table.mode}" keeps no copy of a table; write "upsert"'
    if table.version not in ("offset", ("offset",), None):
        yield "table.version", "is the offset with [pipeline.cdc]: LSNs go backwards after a failover; remove it"
    if table.delete is not None:
        yield "table.delete", "is settled by [pipeline.cdc]: deletes are hard; remove it"


def _type_of(written: str) -> str | None:
    try:
        return parse_type(written).name
    except (ValueError, AttributeError):
        return None
