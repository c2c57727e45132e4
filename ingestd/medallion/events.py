"""Debezium's events of one topic as rows of its stage table. Knows no file and no store.

The rows come from the decoder of the live copy; this module adds what a stage table has besides them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import Struct

from ingestd.batch import DELETES, Chunk, DeadLetter, Decode, Tile, presence_of
from ingestd.config import options as cfg
from ingestd.config.checks.medallion import STAGE_COLUMNS
from ingestd.decode.debezium.envelope import Change, Changes, Envelopes
from ingestd.decode.debezium.keys import Keys
from ingestd.decode.debezium.schema import NoSourceSchema, source_schema
from ingestd.decode.debezium.types import contract_columns
from ingestd.decode.decoder import make_decoder
from ingestd.medallion.bronze import Event
from ingestd.medallion.tables import TableOf, decoding
from ingestd.rows import Flags, flags_of
from ingestd.schema.types import parse_type

Columns = tuple[cfg.Column, ...]
MakeDecoder = Callable[[cfg.Pipeline], Decode]

_NO_SCHEMA = 'brings no schema; let the connector send it (schemas.enable), or write columns = "declared"'


class Dead(Struct, frozen=True):
    """An event that no row could be made of."""

    event: Event
    column: str | None
    reason: str


class Part(Struct):
    """What became of some events: of one version of the table, rows; and what holds no row."""

    columns: Columns
    rows: pa.RecordBatch | None
    """Columns of the table, then those of `STAGE_COLUMNS`."""
    dead: list[Dead]
    ignored: int = 0
    truncates: int = 0


class _Version(Struct):
    """One version of the table, ready to be read."""

    columns: Columns
    key: tuple[str, ...]
    decode: Decode


class EventDecoder:
    """Decodes the chunks of one topic, in their order."""

    def __init__(self, pipeline: cfg.Pipeline, table: TableOf, run_id: str, make: MakeDecoder = make_decoder):
        self._pipeline = pipeline
        self._table = table
        self._run_id = run_id
        self._make = make
        self._envelopes = Envelopes()
        self._keys = Keys()
        self._versions: dict[Any, _Version | str] = {}
        self._declared = table.options.column
        self._latest: _Version | None = None
        self.key: tuple[str, ...] = table.options.key
        """Of the newest version seen."""

    def parts(self, events: Sequence[Event]) -> list[Part]:
        """Every event is in one of them, once."""
        changes = self._envelopes.read([event.document for event in events])
        found: list[Part] = []
        of_row: dict[int, tuple[Change | None, Any]] = {
            change.row: (change, schema) for schema, listed in changes.by_schema.items() for change in listed
        }
        of_row |= {row: (None, _TRUNCATE) for row in changes.truncates}
        # In the order of the records: a truncate, or another version of the table, begins another part.
        for schema, group in groupby(sorted(of_row), key=lambda row: of_row[row][1]):
            rows = list(group)
            if schema is _TRUNCATE:
                found.append(self._truncates([events[row] for row in rows]))
            else:
                listed = [change for row in rows if (change := of_row[row][0]) is not None]
                found.append(self._changes([events[row] for row in rows], listed, schema))
        found.append(self._rest(events, changes))
        return found

    def _rest(self, events: Sequence[Event], changes: Changes) -> Part:
        dead = [Dead(events[row], column, reason) for row, (column, reason) in sorted(changes.refused.items())]
        return Part((), None, dead, ignored=len(changes.ignored))

    def _changes(self, events: list[Event], changes: list[Change], schema: Any) -> Part:
        version = self._version(schema, events[0])
        if isinstance(version, str):
            return Part((), None, [Dead(event, None, version) for event in events])
        self._latest, self.key = version, version.key
        rows = version.decode(Chunk(_tiles(events), events))
        by_place = {(event.at_partition, event.at_offset): place for place, event in enumerate(events)}
        places = [by_place[record.partition(), record.offset()] for record in rows.records]
        kept = [events[place] for place in places]
        deletes = flags_of(rows.columns, DELETES)
        absent = _absent(rows.columns, version.columns, deletes)
        done = [changes[place] for place in places]
        meta = self._meta(kept, [one.op for one in done], deletes.tolist(), [one.lsn for one in done], absent)
        names = [column.name for column in version.columns]
        arrays = [rows.columns.column(name) for name in names] + list(meta.values())
        batch = pa.RecordBatch.from_arrays(arrays, names=[*names, *meta])
        dead = [_dead(letter, events[by_place[letter.partition, letter.offset]]) for letter in rows.dead]
        return Part(version.columns, batch, dead, ignored=len(events) - len(kept) - len(dead))

    def _truncates(self, events: list[Event]) -> Part:
        """Rows of nulls: what they empty is current's matter."""
        columns = self._latest.columns if self._latest is not None else self._declared
        nulls = [pa.nulls(len(events), parse_type(column.type).arrow_type()) for column in columns]
        nothing = [None] * len(events)
        meta = self._meta(events, ["t"] * len(events), [False] * len(events), nothing, nothing)
        batch = pa.RecordBatch.from_arrays([*nulls, *meta.values()], names=[*(c.name for c in columns), *meta])
        return Part(columns, batch, [], truncates=len(events))

    def _meta(
        self, events: list[Event], ops: list[str], deleted: list[bool], lsns: Sequence[Any], absent: Sequence[Any]
    ) -> dict[str, pa.Array]:
        stamps = [None if event.at_ms < 0 else event.at_ms * 1000 for event in events]
        values = {
            "_op": ops,
            "_deleted": deleted,
            "_lsn": lsns,
            "_ts": stamps,
            "_topic": [self._table.topic] * len(events),
            "_partition": [event.at_partition for event in events],
            "_offset": [event.at_offset for event in events],
            "_run_id": [self._run_id] * len(events),
            "_absent": absent,
        }
        return {name: pa.array(values[name], parse_type(kind).arrow_type()) for name, kind in STAGE_COLUMNS.items()}

    def _version(self, schema: Any, event: Event) -> _Version | str:
        """The version of the table that events with this schema have, or why there is none."""
        known = None if self._declared else schema
        found = self._versions.get(known)
        if found is None:
            found = self._versions[known] = self._read_version(schema, event)
        return found

    def _read_version(self, schema: Any, event: Event) -> _Version | str:
        key, columns = self._table.options.key, self._declared
        if not columns:
            if not isinstance(schema, bytes):
                return _NO_SCHEMA
            key = key or self._keys.columns(event.of_key) or ()
            try:
                columns = contract_columns(source_schema(schema).columns, key)
            except NoSourceSchema as error:
                return str(error)
        if clash := _clash(columns):
            return clash
        decoder = self._make(decoding(self._pipeline, self._table, columns, key))
        return _Version(columns, key, decoder)


_TRUNCATE = object()


def _clash(columns: Columns) -> str | None:
    """Why these columns cannot be those of a stage table; None when they can."""
    seen = {name.lower() for name in STAGE_COLUMNS}
    for column in columns:
        if column.name.lower() in seen:
            return f'column "{column.name}" is there twice, or named like one of the stage table\'s own'
        seen.add(column.name.lower())
    return None


def _absent(rows: pa.RecordBatch, columns: Columns, deletes: Flags) -> list[list[str] | None]:
    """By row the columns that the event did not bring; None when it brought all, or deletes."""
    found: list[list[str] | None] = [None] * rows.num_rows
    for column in columns:
        name = presence_of(column.name)
        if name in rows.schema.names:
            for row in np.flatnonzero(~flags_of(rows, name) & ~deletes).tolist():
                missing = found[row]
                if missing is None:
                    found[row] = [column.name]
                else:
                    missing.append(column.name)
    return found


def _tiles(events: list[Event]) -> list[Tile]:
    partitions: dict[int, list[int]] = {}
    for event in events:
        partitions.setdefault(event.at_partition, []).append(event.at_offset)
    return [Tile(partition, offsets[0], offsets[-1] + 1) for partition, offsets in sorted(partitions.items())]


def _dead(letter: DeadLetter, event: Event) -> Dead:
    return Dead(event, letter.column, letter.reason)
