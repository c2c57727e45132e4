"""The kinds of records of one pipeline, and where each kind has the columns of the table. Reads no record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from ingestd.config.options import Column, Contract, Delete, Pipeline


class Plan(Struct, frozen=True, kw_only=True):
    """One kind of records. Columns are meant by their position in the table; each is in exactly one of the places."""

    columns: tuple[Column, ...]
    """As this kind of record declares them, in table order."""
    value: tuple[int, ...] = ()
    """Read from fields of the record's value."""
    key: tuple[int, ...] = ()
    """Read from fields of the record's key, a JSON object."""
    sourced: tuple[int, ...] = ()
    """Read from elsewhere in the record, each as a whole."""
    absent: tuple[int, ...] = ()
    """Not in these records: the column's default."""
    rest: int | None = None
    """The column that takes the unknown fields."""
    beside: int | None = None
    """The column whose values are handed over beside the records."""
    deletes: bool = False
    """Whether these records delete; they have no value, or nothing but the key in it."""


class Plans(Struct, frozen=True):
    """Every kind of records of a pipeline."""

    own: Plan
    by_version: dict[str | int, Plan]
    tombstone_object: Plan | None
    """For a record without a value whose key is a JSON object; None: such a record is refused."""
    tombstone_text: Plan | None
    """For one whose key is the text of the only key column."""

    def every(self) -> list[Plan]:
        """All of them, each once."""
        tombstones = [plan for plan in (self.tombstone_object, self.tombstone_text) if plan is not None]
        return [self.own, *self.by_version.values(), *tombstones]


def plans_of(pipeline: Pipeline) -> Plans:
    """The kinds of records that `pipeline` declares."""
    own = _plan(pipeline, pipeline.column)
    versions = {contract.version: _contract_plan(pipeline, contract) for contract in pipeline.contract}
    delete = pipeline.table.delete
    if delete is None or not delete.tombstone:
        return Plans(own, versions, None, None)
    return Plans(own, versions, _tombstone_plan(pipeline, False), _tombstone_plan(pipeline, True))


def change_plans(pipeline: Pipeline) -> tuple[Plan, Plan]:
    """How a pipeline of change events reads the row after a change, and the one before a delete.

    Of a deleted row only the key is sure to be there; without a key all columns are read.
    """
    cdc, key = pipeline.cdc, pipeline.table.key
    names = [column.name for column in pipeline.column]
    beside = names.index(cdc.lsn_column) if cdc is not None and cdc.lsn_column in names else None
    columns, absent = list(pipeline.column), []
    for position, column in enumerate(columns):
        if key and column.source == "value" and column.name not in key and position != beside:
            columns[position] = structs.replace(column, default=None, required=False)
            absent.append(position)
    return _plan(pipeline, pipeline.column, beside=beside), _plan(pipeline, columns, absent, True, beside)


def _plan(
    pipeline: Pipeline,
    columns: Sequence[Column],
    absent: Sequence[int] = (),
    deletes: bool = False,
    beside: int | None = None,
) -> Plan:
    value, key, sourced, rest = [], [], [], None
    for position, column in enumerate(columns):
        if position in absent or position == beside:
            continue
        if column.name == rest_column(pipeline):
            rest = position
        elif column.source == "value":
            value.append(position)
        elif column.source == "key" and column.path is not None:
            key.append(position)
        else:
            sourced.append(position)
    return Plan(
        columns=tuple(columns),
        value=tuple(value),
        key=tuple(key),
        sourced=tuple(sourced),
        absent=tuple(absent),
        rest=rest,
        beside=beside,
        deletes=deletes,
    )


def rest_column(pipeline: Pipeline) -> str | None:
    """The column that takes the unknown fields; None when they are not kept."""
    return pipeline.unknown_column if pipeline.unknown_fields == "keep" else None


def _contract_plan(pipeline: Pipeline, contract: Contract) -> Plan:
    """Columns that are not fields of the record (its offset, say) are there in every version."""
    declared = {column.name: column for column in contract.column}
    columns, absent = [], []
    for position, column in enumerate(pipeline.column):
        own = declared.get(column.name)
        if own is None and column.source in ("value", "key") and column.name != rest_column(pipeline):
            absent.append(position)
        columns.append(own or column)
    return _plan(pipeline, columns, absent)


def _tombstone_plan(pipeline: Pipeline, text: bool) -> Plan:
    key = pipeline.table.key
    columns, absent = [], []
    for position, column in enumerate(pipeline.column):
        if column.source == "value" and column.name in key:
            path = None if text and len(key) == 1 else column.path or column.name
            column = structs.replace(column, source="key", path=path)
        elif column.source == "value" or column.name == rest_column(pipeline):
            absent.append(position)
            column = structs.replace(column, default=None, required=False)
        columns.append(column)
    return _plan(pipeline, columns, absent, deletes=True)


class Presence(Struct, frozen=True):
    """What besides the columns a batch tells of each record, by position of the column."""

    deletes: bool
    """Whether the batch has the column DELETES."""
    when: tuple[tuple[int, Any], ...]
    """A record deletes when all these columns have these values; () when none does so."""
    tracked: tuple[int, ...]
    """Columns with a presence column behind the declared ones."""
    forgiven: frozenset[int]
    """Required columns that a deleting record may lack."""

    def may_lack(self, position: int, column: Column) -> bool:
        """Whether a record may come without the field of `column`, and it matters that it does."""
        return position in self.forgiven or (position in self.tracked and not column.required)


def presence_in(pipeline: Pipeline) -> Presence:
    """What the pipeline's sinks must know of each record. `delete.when` names fields: the column that reads each."""
    delete, columns = pipeline.table.delete, pipeline.column
    soft = delete is not None and delete.how == "soft"
    tracked = [position for position, column in enumerate(columns) if soft or column.keep_when_absent]
    if delete is None:
        return Presence(False, (), tuple(tracked), frozenset())
    readers = {path_of(column): position for position, column in enumerate(columns) if column.source == "value"}
    when = tuple((readers[path], value) for path, value in delete.when.items())
    needed = _needed(pipeline, delete)
    forgiven = [
        position
        for position, column in enumerate(columns)
        if column.required and column.source == "value" and column.name not in needed
    ]
    return Presence(True, when, tuple(tracked), frozenset(forgiven if when else ()))


def _needed(pipeline: Pipeline, delete: Delete) -> set[str]:
    version, gate = pipeline.table.version, pipeline.dedupe.key if pipeline.dedupe else ()
    names = {*pipeline.table.key, *_several(version), *_several(gate)}
    return names | {column.name for column in pipeline.column if path_of(column) in delete.when}


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def path_of(column: Column) -> str:
    """Where a column is in the record's value."""
    return column.path or column.name
