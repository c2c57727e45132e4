"""Debezium's envelope: what each record says was done, and where the row is in it. Knows no columns.

The schema that the JSON converter writes in front of every payload is read once: records that begin with the same
bytes have the same one, and only their payload is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from ingestd.decode.parts import REFUSALS, Refusals
from ingestd.decode.shape import NULL, shown

UPSERTS = {"c": "create", "r": "snapshot read", "u": "update"}
_MOST_SCHEMAS = 256
"""Schemas of rows remembered at once; a topic has as many as its table had versions."""
_LONGEST_SCHEMA_BYTES = 1 << 20
"""Of those that are remembered."""
_FLAT = "no op: not a change event (rows flattened by ExtractNewRecordState need a pipeline without [pipeline.cdc])"


class _Source(Struct, gc=False):
    lsn: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None


class _Message(Struct, gc=False):
    """An envelope, or the schema and payload around one."""

    op: str | None = None
    before: Raw = NULL
    after: Raw = NULL
    source: _Source | None = None
    schema: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET


class Change(Struct, gc=False):
    """One change of a row."""

    row: int
    """Place of the record in the chunk."""
    op: str
    document: bytes
    """The row: after the change, or before a delete."""
    lsn: int | None


class Changes(Struct):
    """A chunk's records by what they mean; each is in exactly one place."""

    by_schema: dict[bytes | int | None, list[Change]]
    """The schema that describes the rows: Connect's as JSON, the registry's id of an Avro schema, None: none."""
    ignored: list[int]
    """Tombstones, heartbeats, markers of transactions, messages and changes of schemas: nothing to store."""
    truncates: list[int]
    refused: Refusals


class Envelopes:
    """Reads the chunks of one topic."""

    def __init__(self) -> None:
        self._read: Callable[[Any], _Message] = msgspec.json.Decoder(_Message).decode
        self._prefix = b"\0"
        self._schema: bytes | None = None
        self._schemas: dict[bytes, bytes] = {}

    def read(self, values: Sequence[bytes | None], schema_ids: Sequence[int | None] | None = None) -> Changes:
        """The changes in `values`, JSON texts; `schema_ids` name the schemas of the records where a registry has them.

        Hostile values are refused with a reason, never raised.
        """
        found = Changes({}, [], [], {})
        lists = found.by_schema
        read = self._read
        for row, value in enumerate(values):
            if value is None:
                found.ignored.append(row)
                continue
            try:
                if value.startswith(self._prefix) and value[-1] == 0x7D:
                    schema: bytes | int | None = self._schema
                    message = read(value[len(self._prefix) : -1])
                else:
                    schema, message = self._opened(value)
            except REFUSALS as error:
                try:  # What stands behind the payload may be more than the closing brace.
                    schema, message = self._opened(value)
                except REFUSALS:
                    found.refused[row] = None, _reason(error, value)
                    continue
            op = message.op
            if op in UPSERTS:
                document = bytes(message.after)
            elif op == "d":
                document = bytes(message.before)
            else:
                self._without_row(found, row, value, message)
                continue
            if op != "d" and document == b"null":
                found.refused[row] = None, f"op {op!r} ({UPSERTS[op]}) without a row after it"
                continue
            if schema_ids is not None:
                schema = schema_ids[row]
            lsn = message.source.lsn if message.source is not None else None
            change = Change(row, op, document, lsn)
            if schema in lists:
                lists[schema].append(change)
            else:
                lists[schema] = [change]
        return found

    def _opened(self, value: bytes) -> tuple[bytes | None, _Message]:
        """The schema in front of the payload, and what the payload is. Raises what msgspec raises."""
        message = self._read(value)
        if message.op is not None or isinstance(message.payload, UnsetType):
            return None, message
        inner = message.payload
        if inner == NULL:
            return None, _Message()
        schema = b"null" if isinstance(message.schema, UnsetType) else bytes(message.schema)
        if schema == b"null":
            return None, self._read(inner)
        opened = self._read(inner)
        if opened.op is not None and len(schema) <= _LONGEST_SCHEMA_BYTES:
            # The same object each time: a dictionary finds it without comparing thousands of bytes.
            if schema not in self._schemas and len(self._schemas) >= _MOST_SCHEMAS:
                del self._schemas[next(iter(self._schemas))]
            schema = self._schemas.setdefault(schema, schema)
            prefix = b'{"schema":' + schema + b',"payload":'
            if value.startswith(prefix):
                self._prefix, self._schema = prefix, schema
        return schema, opened

    def _without_row(self, found: Changes, row: int, value: bytes, message: _Message) -> None:
        if message.op == "t":
            found.truncates.append(row)
        elif message.op == "m" or (message.op is None and _says_nothing(value)):
            found.ignored.append(row)
        else:
            reason = _FLAT if message.op is None else f"op {shown(message.op)} is none that Debezium writes"
            found.refused[row] = None, reason


def _says_nothing(value: bytes) -> bool:
    """Whether an event without op is one that tells nothing of rows: a heartbeat, the begin or end of a transaction, a
    notification, a change of the schema, a tombstone in its schema's wrapping."""
    try:
        fields = msgspec.json.decode(value, type=dict[str, Any])
        if set(fields) == {"schema", "payload"}:
            fields = fields["payload"]
            if fields is None:
                return True
    except REFUSALS:
        return False
    if not isinstance(fields, dict) or "op" in fields or "after" in fields:
        return False
    if fields.keys() == {"ts_ms"}:
        return True
    if "ddl" in fields or "tableChanges" in fields or {"aggregate_type", "additional_data"} <= fields.keys():
        return True
    return fields.get("status") in ("BEGIN", "END") and "id" in fields


def _reason(error: Exception, value: bytes) -> str:
    if not value:
        return "empty value"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeError):
        return "invalid UTF-8 in a text"
    if isinstance(error, msgspec.ValidationError):
        return f"no change event: {str(error).replace('`', '').replace('Expected', 'expected')}"
    return str(error) if isinstance(error, msgspec.DecodeError) else f"cannot be read ({type(error).__name__})"
