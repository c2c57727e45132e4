"""Values of every format as JSON text, so that columns, rules and dead letters have one way. Knows no Kafka client.

JSON itself passes untouched. What cannot be read is refused here, with the original bytes as its dead letter.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ingestd.batch import Record
from ingestd.config.options import Column, Pipeline, SchemaRegistry
from ingestd.decode.formats.framing import Unreadable, schema_id_of
from ingestd.decode.formats.registry import Registered, Schemas, missing_package
from ingestd.decode.formats.to_json import json_of
from ingestd.errors import ConfigError
from ingestd.schema.types import parse_type

FROM_REGISTRY = {"avro": "AVRO", "json_schema": "JSON", "protobuf": "PROTOBUF"}
"""Formats whose values name their schema -> the registry's word for that kind."""

ReadValue = Callable[[Record], bytes | None]
ReadValues = Callable[[Sequence[Record]], tuple[list[bytes | None], dict[int, tuple[str | None, str]]]]

_UNREADABLE_FOR_SECS = 10.0
_MOST_SCHEMAS = 10_000
_NEEDS_ESCAPE = re.compile(rb'["\\\x00-\x1f]')


def value_reader(pipeline: Pipeline, registry: SchemaRegistry | None = None) -> ReadValue:
    """The function from a record to its value as JSON text; None stays None.

    It raises Unreadable for a value that becomes a dead letter, and, where a registry is asked, Retryable and Halt.
    Raises ConfigError when the format needs a registry and there is none.
    """
    match pipeline.format:
        case "json":
            return lambda record: record.value()
        case "raw":
            return _raw_reader(pipeline)
        case "msgpack":
            return _of_value(_from_msgpack)
        case _:
            if registry is None:
                raise ConfigError([f"pipeline {pipeline.name}: format = {pipeline.format!r} needs [schema_registry]"])
            return _of_value(framed_reader(pipeline.format, registry))


def framed_reader(form: str, registry: SchemaRegistry) -> Callable[[bytes], bytes]:
    """The function from bytes that name their schema to JSON text. It raises Unreadable, Retryable and Halt."""
    return _FramedReader(form, Schemas(registry)).read


def values_reader(pipeline: Pipeline, registry: SchemaRegistry | None = None) -> ReadValues:
    """The function from records to their values as JSON text, and index -> (no column, reason) of the unreadable.

    An unreadable value is an empty one, which no column can be read from either. Raises as `value_reader` does.
    """
    if pipeline.format == "json":
        return lambda records: ([record.value() for record in records], {})
    read = value_reader(pipeline, registry)

    def read_all(records: Sequence[Record]) -> tuple[list[bytes | None], dict[int, tuple[str | None, str]]]:
        values: list[bytes | None] = []
        refused: dict[int, tuple[str | None, str]] = {}
        waiting = iter(records)
        while True:
            try:
                values.extend(map(read, waiting))
            except (Unreadable, ValueError, TypeError, RecursionError, OverflowError) as error:
                refused[len(values)] = None, _reason(error)
                values.append(b"")
            else:
                return values, refused

    return read_all


def _reason(error: Exception) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeError):
        return "invalid UTF-8 in a text"
    return f"cannot be written as JSON ({type(error).__name__})"


def _of_value(read: Callable[[bytes], bytes]) -> ReadValue:
    def read_record(record: Record) -> bytes | None:
        value = record.value()
        return None if value is None else read(value)

    return read_record


class _FramedReader:
    """Values of one format, each read by the schema that its header names; a schema is fetched and prepared once."""

    def __init__(self, form: str, schemas: Schemas):
        self._form = form
        self._schemas = schemas
        self._readers: dict[int, Callable[[bytes], bytes]] = {}
        self._unreadable: dict[int, tuple[float, str]] = {}

    def read(self, value: bytes) -> bytes:
        """`value` as JSON. Raises Unreadable, Retryable, Halt."""
        schema_id = schema_id_of(value)
        reader = self._readers.get(schema_id)
        if reader is None:
            reader = self._prepared(schema_id)
        return reader(value)

    def _prepared(self, schema_id: int) -> Callable[[bytes], bytes]:
        """An id that leads to nothing is asked for again after a while: the schema may be registered late."""
        until, reason = self._unreadable.get(schema_id, (0.0, ""))
        if time.monotonic() < until:
            raise Unreadable(reason)
        try:
            reader = self._fetched(schema_id)
        except Unreadable as error:
            _bound(self._unreadable)
            self._unreadable[schema_id] = time.monotonic() + _UNREADABLE_FOR_SECS, str(error)
            raise
        _bound(self._readers)
        self._readers[schema_id] = reader
        return reader

    def _fetched(self, schema_id: int) -> Callable[[bytes], bytes]:
        schema = self._schemas.fetch(schema_id)
        if schema.kind != FROM_REGISTRY[self._form]:
            raise Unreadable(f"schema id {schema_id} is of kind {schema.kind}, the pipeline reads {self._form}")
        try:
            return self._reader_of(schema, schema_id)
        except ImportError as error:
            raise missing_package(error) from None

    def _reader_of(self, schema: Registered, schema_id: int) -> Callable[[bytes], bytes]:
        # Each loads libraries that the other formats do not need.
        match self._form:
            case "avro":
                from ingestd.decode.formats.avro import avro_reader

                return avro_reader(schema)
            case "protobuf":
                from ingestd.decode.formats.protobuf import are_descriptors, protobuf_reader

                if not are_descriptors(schema):
                    schema = self._schemas.fetch_descriptors(schema_id)
                return protobuf_reader(schema)
            case _:
                from ingestd.decode.formats.json_schema import json_schema_reader

                return json_schema_reader(schema)


def _bound(kept: dict[int, Any]) -> None:
    """Forget the oldest: hostile ids must not fill the memory."""
    if len(kept) >= _MOST_SCHEMAS:
        del kept[next(iter(kept))]


def _from_msgpack(value: bytes) -> bytes:
    try:
        read = msgspec.msgpack.decode(value)
    except msgspec.DecodeError as error:
        raise Unreadable(str(error)) from None
    try:
        return json_of(read)
    except TypeError:
        raise Unreadable("holds an extension type, or a key that JSON cannot have") from None


def raw_column(pipeline: Pipeline) -> Column | None:
    """The column that takes the whole value; None when it is not exactly one."""
    found = [column for column in pipeline.column if column.source == "value"]
    return found[0] if len(found) == 1 else None


def _raw_reader(pipeline: Pipeline) -> ReadValue:
    """A JSON object around the value, with the column as its only field."""
    column = raw_column(pipeline)
    if column is None:
        raise ConfigError([f"pipeline {pipeline.name}: format 'raw' needs exactly one column with source = 'value'"])
    before = b"{" + msgspec.json.encode(column.name) + b":"
    write = {"bytea": _base64_of, "jsonb": _checked_json}.get(parse_type(column.type).scalar, _text_of)
    tombstones = pipeline.table.delete is not None and pipeline.table.delete.tombstone

    def read(record: Record) -> bytes | None:
        value = record.value()
        if value is None:
            return None if tombstones else before + b"null}"
        return before + write(value) + b"}"

    return read


def _base64_of(value: bytes) -> bytes:
    return b'"' + base64.b64encode(value) + b'"'


def _checked_json(value: bytes) -> bytes:
    """One whole JSON value: anything else could close our object and forge fields of its own."""
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        raise Unreadable(f"is not JSON: {error}") from None
    return value


def _text_of(value: bytes) -> bytes:
    """The bytes as a JSON text; invalid UTF-8 stays in it, for the column's own policy to judge."""
    try:
        return msgspec.json.encode(value.decode())
    except UnicodeDecodeError:
        pass
    return b'"' + _NEEDS_ESCAPE.sub(lambda found: b"\\u%04x" % found[0][0], value) + b'"'
