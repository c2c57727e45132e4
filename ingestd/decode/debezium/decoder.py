"""Debezium's change events into rows: what a pipeline with `[pipeline.cdc]` decodes by. Knows no Kafka client."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import compress

from msgspec import Struct

from ingestd.batch import Chunk, Decode, Record, Rows, dead_letter
from ingestd.config.live_copy import live_copy
from ingestd.config.options import Pipeline, SchemaRegistry
from ingestd.decode import columns as build
from ingestd.decode.builders import builder_for
from ingestd.decode.debezium.avro_schema import avro_source_schema
from ingestd.decode.debezium.envelope import UPSERTS, Change, Envelopes
from ingestd.decode.debezium.keys import Keys
from ingestd.decode.debezium.schema import NoSourceSchema, source_schema
from ingestd.decode.debezium.types import uncovered
from ingestd.decode.debezium.unavailable import Unavailable
from ingestd.decode.debezium.versions import Version, presence_of_copy, version_of
from ingestd.decode.formats.framing import Unreadable, schema_id_of
from ingestd.decode.formats.registry import Registered, Schemas
from ingestd.decode.formats.values import framed_reader, values_reader
from ingestd.decode.marks import Marks
from ingestd.decode.parts import REFUSALS, Part, Refusals, part_of, together
from ingestd.schema.source import SourceSchema

SchemaId = bytes | int | None
_MOST_VERSIONS = 256
_NEEDS_SCHEMA = (
    'brings no schema, which cdc.columns = "from_events" needs: set value.converter.schemas.enable=true in the '
    "connector, or declare the columns"
)
_UNAVAILABLE = (
    "its unchanged TOASTed value is not in the event, and a {} needs it (a changed primary key arrives as a delete "
    "and a create): ALTER TABLE .. REPLICA IDENTITY FULL at the source"
)


class _Known(Struct):
    """One version of the source's table, and what of it the pipeline does not take."""

    version: Version
    source: SourceSchema | None
    problem: str | None = None
    """Why no row of this version can be read."""
    new: dict[tuple[str, ...] | None, set[str]] = {}
    """By the key's columns: the columns that the pipeline has not, or that do not take every value."""


def make_change_decoder(
    pipeline: Pipeline,
    registry: SchemaRegistry | None = None,
    ignored: Collection[str] = (),
    clock: Callable[[], float] = time.time,
) -> Decode:
    """The function from a chunk of change events to rows, for a pipeline with `[pipeline.cdc]`.

    With cdc.columns = "from_events" a chunk whose events have columns that the pipeline has not comes with
    `Rows.source_schema`; `ignored` are columns that are not to be told of again.
    Raises ConfigError for columns that clash.
    """
    return _ChangeDecoder(live_copy(pipeline), registry, ignored, clock).decode


class _ChangeDecoder:
    def __init__(
        self,
        pipeline: Pipeline,
        registry: SchemaRegistry | None,
        ignored: Collection[str],
        clock: Callable[[], float],
    ):
        assert pipeline.cdc is not None
        self._pipeline, self._cdc, self._ignored, self._clock = pipeline, pipeline.cdc, ignored, clock
        self._read_values = values_reader(pipeline, registry)
        framed = pipeline.format == "avro" and registry is not None
        self._schemas = Schemas(registry) if framed and registry is not None else None
        unframe = framed_reader("avro", registry) if framed and registry is not None else None
        self._keys = Keys(unframe, (lambda schema_id: self._fetched(schema_id).text) if framed else None)
        self._marks = Marks.of(pipeline, presence_of_copy(pipeline), builder_for)
        self._envelopes = Envelopes()
        self._unavailable = Unavailable(self._cdc.unavailable)
        self._versions: dict[SchemaId, _Known] = {None: self._prepared(None)}
        self._read_fields = {column.path or column.name for column in pipeline.column if column.source == "value"}

    def decode(self, chunk: Chunk) -> Rows:
        values, unreadable = self._read_values(chunk.records)
        ids = [_id_of(record.value()) for record in chunk.records] if self._schemas is not None else None
        found = self._envelopes.read(values, ids)
        refused = found.refused | unreadable
        parts: list[tuple[list[int], Part]] = []
        told: tuple[int, SourceSchema] | None = None
        for schema_id, changes in found.by_schema.items():
            known = self._known(schema_id)
            if known.problem is not None:
                refused |= {change.row: (None, known.problem) for change in changes}
                continue
            # The first is told first: rows of an older version get what the source filled in for them.
            for row in {changes[0].row, changes[-1].row}:
                news = self._news(known, chunk.records[row])
                if news is not None and (told is None or row < told[0]):
                    told = row, news
            if self._pipeline.column:
                parts += self._parts(known.version, changes, chunk.records, refused)
        part = together(parts, refused, self._marks.schema)
        return self._rows(chunk, part, found.ignored, found.truncates, sum(map(len, filter(None, values))), told)

    def _rows(
        self,
        chunk: Chunk,
        part: Part,
        ignored: list[int],
        truncates: list[int],
        nbytes: int,
        told: tuple[int, SourceSchema] | None,
    ) -> Rows:
        records = chunk.records
        gone = [*part.refused, *ignored, *truncates]
        kept = list(compress(records, build.kept(len(records), gone))) if gone else records
        if not self._pipeline.column:
            kept = []
        return Rows(
            tiles=chunk.tiles,
            columns=part.batch,
            records=kept,
            dead=[dead_letter(records[row], "decode", *part.refused[row]) for row in sorted(part.refused)],
            nbytes=nbytes,
            ignored=[(records[row].partition(), records[row].offset()) for row in ignored],
            truncates=[(records[row].partition(), records[row].offset()) for row in truncates],
            source_schema=told[1] if told is not None else None,
        )

    def _parts(
        self, version: Version, changes: list[Change], records: Sequence[Record], refused: Refusals
    ) -> list[tuple[list[int], Part]]:
        """The rows of one version's changes, and their places in the chunk; `refused` gets those that cannot be."""
        upserts = [change for change in changes if change.op != "d"]
        deletes = [change for change in changes if change.op == "d"] if len(upserts) < len(changes) else []
        parts = []
        if upserts:
            documents = [change.document for change in upserts]
            if suspects := self._unavailable.suspects(documents):
                upserts, documents = self._available(upserts, documents, suspects, refused)
            parts.append(self._part(version, False, upserts, documents, records))
        if deletes:
            documents = [self._deleted(version, change, records) for change in deletes]
            parts.append(self._part(version, True, deletes, documents, records))
        return parts

    def _part(
        self,
        version: Version,
        deletes: bool,
        changes: list[Change],
        documents: Sequence[bytes],
        records: Sequence[Record],
    ) -> tuple[list[int], Part]:
        kind = version.delete if deletes else version.upsert
        rows = [change.row for change in changes]
        beside = {kind.plan.beside: [change.lsn for change in changes]} if kind.plan.beside is not None else None
        own = records if len(rows) == len(records) else [records[row] for row in rows]
        return rows, part_of(kind, self._marks, own, list(documents), beside)

    def _available(
        self, upserts: list[Change], documents: list[bytes], suspects: list[int], refused: Refusals
    ) -> tuple[list[Change], list[bytes]]:
        """Updates without the fields they do not bring; other changes that lack one are refused."""
        bad: set[int] = set()
        for place in suspects:
            change = upserts[place]
            documents[place], absent = self._unavailable.without(documents[place])
            needed = sorted(self._read_fields & set(absent))
            if needed and change.op != "u":
                refused[change.row] = needed[0], _UNAVAILABLE.format(UPSERTS[change.op])
                bad.add(place)
        if not bad:
            return upserts, documents
        good = build.kept(len(upserts), bad)
        return list(compress(upserts, good)), list(compress(documents, good))

    def _deleted(self, version: Version, change: Change, records: Sequence[Record]) -> bytes:
        """The document with the key of a deleted row: what was before, or the record's key when that lacks it."""
        documents = version.delete.documents
        if not self._pipeline.table.key or not documents or documents[0].of_key:
            return change.document
        try:
            documents[0].shape.read(change.document)
        except REFUSALS:
            return self._keys.document(records[change.row].key()) or change.document
        return change.document

    def _known(self, schema_id: SchemaId) -> _Known:
        known = self._versions.get(schema_id)
        if known is None:
            if len(self._versions) >= _MOST_VERSIONS:
                del self._versions[next(key for key in self._versions if key is not None)]
            known = self._versions[schema_id] = self._prepared(schema_id)
        return known

    def _prepared(self, schema_id: SchemaId) -> _Known:
        source, problem = None, None
        try:
            if isinstance(schema_id, bytes):
                source = source_schema(schema_id)
            elif schema_id is not None:
                registered = self._fetched(schema_id)
                source = avro_source_schema(registered.text, registered.parts)
            elif self._cdc.columns == "from_events":
                problem = _NEEDS_SCHEMA
        except (NoSourceSchema, Unreadable) as error:
            problem = str(error)
        return _Known(version_of(self._pipeline, source, self._clock), source, problem)

    def _fetched(self, schema_id: int) -> Registered:
        assert self._schemas is not None
        return self._schemas.fetch(schema_id)

    def _news(self, known: _Known, record: Record) -> SourceSchema | None:
        """The source's table with its key when the pipeline's columns do not take all of it."""
        if self._cdc.columns != "from_events" or known.source is None:
            return None
        key = self._keys.columns(record.key())
        schema = SourceSchema(known.source.columns, key, known.source.name)
        if key not in known.new:
            known.new[key] = {column.name for column in uncovered(schema, self._pipeline.column)}
        if known.new[key].difference(self._ignored):
            return schema
        # Without a key the table's rows cannot be told apart; another one halts the copy.
        has_other = self._pipeline.has_table() and key is not None and set(key) != set(self._pipeline.table.key)
        return schema if has_other else None


def _id_of(value: bytes | None) -> int | None:
    try:
        return None if value is None else schema_id_of(value)
    except Unreadable:
        return None
