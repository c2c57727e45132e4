"""Kafka records of every format into rows. Knows no Kafka client and no database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from msgspec import structs

from ingestd.batch import Chunk, Decode, Record, Rows, dead_letter
from ingestd.config.options import Pipeline, SchemaRegistry
from ingestd.decode.builders import builder_for
from ingestd.decode.debezium.decoder import make_change_decoder
from ingestd.decode.formats.values import values_reader
from ingestd.decode.kinds import sorter_of
from ingestd.decode.marks import Marks
from ingestd.decode.mending import mender_of
from ingestd.decode.parts import Document, Kind, Part, check_defaults, part_of, together, without
from ingestd.decode.plans import Plan, Plans, Presence, path_of, plans_of, presence_in
from ingestd.decode.shape import shape_of
from ingestd.decode.sources import Source, key_explainer, source_of
from ingestd.decode.unknown import Known, keeper_of, known_fields, newcomers_of


def make_decoder(
    pipeline: Pipeline,
    registry: SchemaRegistry | None = None,
    ignored: Collection[str] = (),
    clock: Callable[[], float] = time.time,
) -> Decode:
    """The function from a chunk to rows. Raises ConfigError for columns that clash and for a bad default.

    `ignored` are new fields that are not to be told of again; `clock` gives seconds since 1970 for `source = "now"`.
    """
    if pipeline.cdc is not None:
        return make_change_decoder(pipeline, registry, ignored, clock)
    read_values = values_reader(pipeline, registry)
    plans, presence = plans_of(pipeline), presence_in(pipeline)
    marks = Marks.of(pipeline, presence, builder_for)
    kinds = _kinds(pipeline, plans, presence, ignored, clock)
    own = kinds[id(plans.own)]
    sort = sorter_of(plans, pipeline.version_field)

    def parts_of(records: Sequence[Record], values: list[bytes | None]) -> Part:
        if sort is None:
            return part_of(own, marks, records, values)
        sorted_out, refused = sort(records, values)
        if len(sorted_out) == 1 and not refused:
            return part_of(kinds[id(sorted_out[0][0])], marks, records, values)
        parts = [
            (rows, part_of(kinds[id(plan)], marks, [records[row] for row in rows], [values[row] for row in rows]))
            for plan, rows in sorted_out
        ]
        return together(parts, refused, marks.schema)

    def decode(chunk: Chunk) -> Rows:
        values, unreadable = read_values(chunk.records)
        nbytes = sum(map(len, filter(None, values)))
        part = parts_of(chunk.records, values)
        part.refused |= unreadable
        records = without(chunk.records, part.refused)
        dead = [dead_letter(chunk.records[row], "decode", *part.refused[row]) for row in sorted(part.refused)]
        return Rows(chunk.tiles, part.batch, records, dead, nbytes, part.new_fields)

    return decode


def _kinds(
    pipeline: Pipeline, plans: Plans, presence: Presence, ignored: Collection[str], clock: Callable[[], float]
) -> dict[int, Kind]:
    """Every plan made ready, by its identity."""
    evolves = pipeline.on_new_field == "evolve"
    known = [pipeline.version_field] if pipeline.version_field is not None else []
    # A field that any version reads, or that is the name of a column, is not new.
    read = {path_of(column) for plan in plans.every() for column in plan.columns} | {*known}
    old = Known(dict.fromkeys([*(path.partition(".")[0] for path in read), *(c.name for c in pipeline.column)]))
    made: dict[int, Kind] = {}
    for plan in plans.every():
        makers = [builder_for(column, pipeline.on_bad) for column in plan.columns]
        check_defaults(plan.columns, makers)
        fields = known_fields([plan.columns[position] for position in plan.value], known)
        made[id(plan)] = Kind(
            plan=plan,
            makers=makers,
            documents=_documents(pipeline, plan, presence, known),
            sources={p: _source(pipeline, plan, p, clock) for p in plan.sourced},
            lenient=presence.forgiven | frozenset(presence.tracked),
            keep=keeper_of(fields) if plan.rest is not None else None,
            newcomers=newcomers_of(old, ignored) if evolves and not plan.deletes else None,
        )
    return made


def _source(pipeline: Pipeline, plan: Plan, position: int, clock: Callable[[], float]) -> Source:
    stands_for_value = pipeline.column[position].source == "value"
    return source_of(plan.columns[position], pipeline.topic, clock, base64=stands_for_value)


def _documents(pipeline: Pipeline, plan: Plan, presence: Presence, known: list[str]) -> list[Document]:
    watches = pipeline.unknown_fields == "keep" or pipeline.on_new_field == "evolve"
    strict = pipeline.unknown_fields == "dead_letter"
    documents = []
    for positions, of_key in ((plan.value, False), (plan.key, True)):
        if (of_key or plan.deletes) and not positions:
            continue
        columns = [plan.columns[position] for position in positions]
        optional = [n for n, position in enumerate(positions) if presence.may_lack(position, columns[n])]
        if of_key:
            shape = shape_of([structs.replace(column, source="value") for column in columns], optional)
            explain = key_explainer(shape.explain, columns)
            documents.append(Document(positions, structs.replace(shape, explain=explain), None, of_key=True))
            continue
        shape = shape_of(columns, optional, known, strict)
        mend = mender_of(columns, pipeline.on_bad, shape.read, shape.explain)
        sees_all = shape_of(columns, optional, known, strict=True).read if watches else None
        documents.append(Document(positions, shape, mend, strict=sees_all))
    return documents
