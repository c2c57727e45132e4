"""The values that a source's table fills in for new columns, as its change events tell them. Knows no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from ingestd.batch import Rows, presence_of
from ingestd.config.options import Column, Pipeline
from ingestd.config.pipeline import NO_TABLE
from ingestd.decode.builders import builder_for
from ingestd.decode.debezium.versions import presence_of_copy, version_of
from ingestd.decode.marks import Marks
from ingestd.decode.parts import part_of
from ingestd.schema.source import SourceColumn, SourceSchema


def fills_in(column: SourceColumn) -> bool:
    """Whether the events tell what the source fills in for a column."""
    return column.default is not None and not column.native


def defaults_of(pipeline: Pipeline, filled: Sequence[SourceColumn], types: Mapping[str, str]) -> dict[str, pa.Array]:
    """By column, an Arrow array of one value of its contract type in `types`; only of columns that have a default.

    Read as any other value of the column, so that it is equal to what events with it would bring.
    """
    found = {}
    for column in filled:
        if column.name in types and fills_in(column):
            array = _read(pipeline, column, types[column.name])
            if array is not None:
                found[column.name] = array
    return found


def with_defaults(rows: Rows, defaults: Mapping[str, pa.Array]) -> Rows:
    """`rows` with the default in place of null where an event lacks the column: what a new row gets; a stored one
    keeps what it has, because the column still counts as absent."""
    columns = rows.columns
    for name, default in defaults.items():
        if presence_of(name) not in columns.schema.names:  # of the key, which no event lacks
            continue
        absent = pc.invert(columns.column(presence_of(name)))
        if pc.any(absent).as_py():
            position = columns.schema.get_field_index(name)
            filled = pc.if_else(absent, default[0], columns.column(position))
            columns = columns.set_column(position, columns.schema.field(position), filled)
    return rows if columns is rows.columns else structs.replace(rows, columns=columns)


def _read(pipeline: Pipeline, source: SourceColumn, kind: str) -> pa.Array | None:
    alone = structs.replace(
        pipeline,
        column=(Column(name=source.name, type=kind),),
        table=NO_TABLE,
        unknown_fields="ignore",
        unknown_column=None,
    )
    version = version_of(alone, SourceSchema((source,), (), ""))
    nobody: Any = [None]
    marks = Marks.of(alone, presence_of_copy(alone), builder_for)
    part = part_of(version.upsert, marks, nobody, [msgspec.json.encode({source.name: source.default})])
    if part.refused or not part.batch.num_rows:
        return None
    array = part.batch.column(source.name)
    return None if array.null_count else array
