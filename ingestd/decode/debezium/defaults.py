"""The values that a source's table fills in for new columns, as its change events tell them. Knows no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs

from ingestd.config.options import Pipeline
from ingestd.config.pipeline import NO_TABLE
from ingestd.decode.builders import builder_for
from ingestd.decode.debezium.types import contract_columns
from ingestd.decode.debezium.versions import presence_of_copy, version_of
from ingestd.decode.marks import Marks
from ingestd.decode.parts import part_of
from ingestd.schema.source import SourceColumn, SourceSchema

if TYPE_CHECKING:
    import pyarrow as pa


def defaults_of(pipeline: Pipeline, schema: SourceSchema, names: Sequence[str]) -> Mapping[str, pa.Array]:
    """By column, an Arrow array of one value of the column's contract type; only of columns that have a default.

    Read as any other value of the column, so that it is equal to what events with it would bring.
    """
    found = {}
    for column in schema.columns:
        if column.name in names and column.default is not None and not column.native:
            array = _read(pipeline, column)
            if array is not None:
                found[column.name] = array
    return found


def _read(pipeline: Pipeline, source: SourceColumn) -> pa.Array | None:
    alone = structs.replace(
        pipeline, column=contract_columns([source]), table=NO_TABLE, unknown_fields="ignore", unknown_column=None
    )
    version = version_of(alone, SourceSchema((source,), (), ""))
    nobody: Any = [None]
    marks = Marks.of(alone, presence_of_copy(alone), builder_for)
    part = part_of(version.upsert, marks, nobody, [msgspec.json.encode({source.name: source.default})])
    if part.refused or not part.batch.num_rows:
        return None
    array = part.batch.column(source.name)
    return None if array.null_count else array
