"""What a batch tells besides its columns: which records delete, and which fields each has. Reads no record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.batch import DELETES, presence_of
from ingestd.config.options import Column, Pipeline
from ingestd.decode.columns import Builder, rows_where
from ingestd.decode.plans import Plan, Presence
from ingestd.decode.shape import ABSENT, field_type
from ingestd.errors import ConfigError
from ingestd.schema.postgres import Schema


class Marks(Struct, frozen=True):
    """The columns behind the declared ones, for every kind of records of a pipeline."""

    presence: Presence
    schema: pa.Schema
    """Of the whole batch."""
    when: tuple[tuple[int, pa.Scalar], ...]

    @classmethod
    def of(cls, pipeline: Pipeline, presence: Presence, builder_for: Callable[[Column], Builder]) -> Marks:
        """Raises ConfigError for a `delete.when` that no record can match."""
        columns = pipeline.column
        names = [DELETES] if presence.deletes else []
        names += [presence_of(columns[position].name) for position in presence.tracked]
        schema = Schema.of(columns).arrow_schema()
        for name in names:
            schema = schema.append(pa.field(name, pa.bool_()))
        when = tuple((p, _as_column(value, columns[p], builder_for)) for p, value in presence.when)
        return cls(presence, schema, when)

    @property
    def forgiven(self) -> frozenset[int]:
        """Required columns that a deleting record may lack: `add` judges them."""
        return self.presence.forgiven

    def add(
        self, arrays: list[pa.Array], has: dict[int, list[bool]], plan: Plan, faults: dict[int, tuple[str | None, str]]
    ) -> None:
        """Append the columns behind the declared ones; `has` tells for the optional columns which rows had a field."""
        if self.presence.deletes:
            rows = len(arrays[0])
            deletes = pa.array([True] * rows, pa.bool_()) if plan.deletes else self._matching(arrays)
            for position in () if plan.deletes else sorted(self.forgiven):
                lacking = pc.and_not(arrays[position].is_null(), deletes) if arrays[position].null_count else None
                for row in rows_where(lacking) if lacking is not None else ():
                    had = has.get(position)
                    why = "null in a required column" if had is None or had[row] else "missing"
                    faults.setdefault(row, (plan.columns[position].name, why))
        marks = [deletes] if self.presence.deletes else []
        arrays += marks + [self._present(arrays[p], p, has, plan) for p in self.presence.tracked]

    def _matching(self, arrays: list[pa.Array]) -> pa.BooleanArray:
        matching = None
        for position, value in self.when:
            same = pc.fill_null(pc.equal(arrays[position], value), False)
            matching = same if matching is None else pc.and_(matching, same)
        return pa.array([False] * len(arrays[0]), pa.bool_()) if matching is None else matching

    def _present(self, array: pa.Array, position: int, has: dict[int, list[bool]], plan: Plan) -> pa.BooleanArray:
        if position in plan.absent:
            return pa.array([False] * len(array), pa.bool_())
        if position in self.forgiven or position not in (*plan.value, *plan.key):
            return array.is_valid()
        if position not in has:  # no record of these lacks a field
            return pa.repeat(pa.scalar(True), len(array))
        return pa.array(has[position], pa.bool_())


def with_defaults(values: list[Any], default: Any) -> tuple[list[Any], list[bool]]:
    """`values` with the default where the record has no such field, and which records have it."""
    has = [value is not ABSENT for value in values]
    if all(has):
        return values, has
    return [default if value is ABSENT else value for value in values], has


def _as_column(value: Any, column: Column, builder_for: Callable[[Column], Builder]) -> pa.Scalar:
    try:
        given = msgspec.json.decode(msgspec.json.encode(value), type=field_type(column))
    except msgspec.MsgspecError as error:
        raise ConfigError([f"table.delete.when: {value!r} is not a {column.type} ({column.name}): {error}"]) from None
    built = builder_for(column)([given])
    for reason in built.faults.values():
        raise ConfigError([f"table.delete.when: {value!r} can never be in column {column.name!r}: {reason}"])
    return built.array[0]
