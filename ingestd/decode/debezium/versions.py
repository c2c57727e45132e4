"""Ways to read rows, one for each version of the source's table that the events describe. Knows no envelopes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any

from msgspec import Raw, Struct, structs

from ingestd.config.options import Column, Pipeline
from ingestd.decode.builders import builder_for
from ingestd.decode.debezium.forms import Form, form_of
from ingestd.decode.parts import Document, Kind
from ingestd.decode.plans import Plan, Presence, change_plans
from ingestd.decode.shape import NULL, field_type, shape_of
from ingestd.decode.sources import source_of
from ingestd.decode.unknown import keeper_of, known_fields
from ingestd.schema.source import SourceSchema
from ingestd.schema.types import parse_type


class Version(Struct, frozen=True):
    """How the rows of one version are read, after a change and of a delete."""

    upsert: Kind
    delete: Kind


def presence_of_copy(pipeline: Pipeline) -> Presence:
    """Every column but the key may be missing in an event; a delete says so."""
    tracked = [position for position, column in enumerate(pipeline.column) if column.keep_when_absent]
    return Presence(deletes=True, when=(), tracked=tuple(tracked), forgiven=frozenset())


def version_of(pipeline: Pipeline, schema: SourceSchema | None, clock: Callable[[], float] = time.time) -> Version:
    """The way to read rows that `schema` describes; None: events without a schema.

    `pipeline` is a live copy. Raises ConfigError for columns that clash.
    """
    sources = {column.name: column for column in schema.columns} if schema is not None else {}
    mode = pipeline.cdc.decimals if pipeline.cdc is not None else "precise"
    forms: dict[int, Form] = {}
    for position, column in enumerate(pipeline.column):
        source = sources.get(column.path or column.name)
        if schema is not None and source is None:
            continue
        if column.source == "value" and (form := form_of(source, column, mode)) is not None:
            forms[position] = form
    upsert, delete = change_plans(pipeline)
    return Version(_kind(pipeline, upsert, forms, clock), _kind(pipeline, delete, forms, clock))


def _kind(pipeline: Pipeline, plan: Plan, forms: dict[int, Form], clock: Callable[[], float]) -> Kind:
    forms = {position: form for position, form in forms.items() if position in plan.value}
    key_only = plan.deletes and bool(pipeline.table.key)
    builders = [
        builder_for(column, pipeline.on_bad, forms[position].build if position in forms else None)
        for position, column in enumerate(plan.columns)
    ]
    columns = [plan.columns[position] for position in plan.value]
    types = {n: _read_type(plan.columns[position], forms.get(position)) for n, position in enumerate(plan.value)}
    return Kind(
        plan=plan,
        makers=builders,
        documents=_documents(pipeline, plan, columns, types, key_only),
        sources={p: source_of(plan.columns[p], pipeline.topic, clock) for p in plan.sourced},
        lenient=frozenset() if key_only else frozenset(plan.value),
        defaults={p: NULL if types[n] is Raw else None for n, p in enumerate(plan.value)},
        keep=keeper_of(known_fields(columns, [])) if plan.rest is not None else None,
    )


def _documents(
    pipeline: Pipeline, plan: Plan, columns: Sequence[Column], types: dict[int, Any], key_only: bool
) -> list[Document]:
    found = []
    if plan.value or not plan.deletes:
        whole = shape_of(columns, types=types)
        if key_only:
            found.append(Document(plan.value, whole, None))
        else:
            every = range(len(columns))
            strict = pipeline.unknown_fields == "dead_letter"
            shape = shape_of(columns, every, strict=strict, types=types)
            sees_all = shape_of(columns, every, strict=True, types=types).read
            watches = pipeline.unknown_fields == "keep"
            found.append(
                Document(plan.value, shape, None, strict=sees_all if watches else None, whole=None if strict else whole)
            )
    if plan.key:
        of_key = [plan.columns[position] for position in plan.key]
        every_key = [n for n, column in enumerate(of_key) if not column.required]
        shape = shape_of([structs.replace(column, source="value") for column in of_key], every_key)
        found.append(Document(plan.key, shape, None, of_key=True))
    return found


def _read_type(column: Column, form: Form | None) -> Any:
    """What msgspec reads for a column; without null for a required one."""
    if form is None:
        return field_type(column)
    read: Any = form.read
    if parse_type(column.type).is_array:
        element = read if read is Raw else read | None
        read = GenericAlias(list, (element,))
    return read if read is Raw or column.required else read | None
