"""Protobuf values as JSON text, by the descriptors of the schema that wrote them. Knows no registry and no columns.

Classes are made from the descriptors while running; nobody generates code. The fields keep the names of the .proto
file. What the library's own JSON printer changes is kept: 64-bit integers are numbers.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from ingestd.decode.formats.framing import Unreadable, message_path_of
from ingestd.decode.formats.registry import Registered
from ingestd.decode.formats.to_json import json_of

Convert = Callable[[Any], Any]

_SHIPPED = re.compile(r"(?:google/(?:protobuf|type)|confluent(?:/types?)?)/[a-z_]+\.proto")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_DIGITS_AT_MOST = 1000
_OWN_NAME = "ingestd/record.proto"
_WRAPPED = {f"google.protobuf.{kind}Value" for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32")}
_WRAPPED |= {f"google.protobuf.{kind}Value" for kind in ("Bool", "String", "Bytes")}
_PRINTED = {f"google.protobuf.{kind}" for kind in ("Duration", "FieldMask", "Struct", "Value", "ListValue")}


def are_descriptors(schema: Registered) -> bool:
    """Whether the schema and its parts are descriptors; .proto text would have to be compiled first."""
    return all(_descriptor("", text) is not None for text in (schema.text, *schema.parts.values()))


def protobuf_reader(schema: Registered) -> Callable[[bytes], bytes]:
    """The function from a framed Protobuf value to JSON text; it raises Unreadable.

    Raises Unreadable when the schema cannot be used.
    """
    file = _file_of(schema)
    messages: dict[tuple[int, ...], tuple[Any, Convert]] = {}

    def read(value: bytes) -> bytes:
        path, at = message_path_of(value)
        if path not in messages:
            descriptor = _message_at(file, path)
            messages[path] = GetMessageClass(descriptor), _converter(descriptor, {})
        made, convert = messages[path]
        try:
            message = made.FromString(value[at:])
        except DecodeError:
            raise Unreadable("is not what its Protobuf schema says") from None
        return json_of(convert(message))

    return read


def _file_of(schema: Registered) -> FileDescriptor:
    pool = DescriptorPool()
    added: set[str] = set()
    try:
        for name, text in (*schema.parts.items(), (_OWN_NAME, schema.text)):
            file = _descriptor(name, text)
            if file is None:
                raise ValueError(f"{name} is no descriptor")
            _add(pool, file, added)
        return pool.FindFileByName(_OWN_NAME)
    except (TypeError, KeyError, ValueError) as error:
        raise Unreadable(f"its Protobuf schema cannot be used: {' '.join(str(error).split())[:200]}") from None


def _descriptor(name: str, text: str) -> FileDescriptorProto | None:
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return None
    file.name = name
    return file


def _add(pool: DescriptorPool, file: FileDescriptorProto, added: set[str]) -> None:
    """Add `file` behind the files of Google's and Confluent's own types that it imports."""
    for name in file.dependency:
        if name not in added and _SHIPPED.fullmatch(name):
            shipped = FileDescriptorProto()
            _shipped(name).DESCRIPTOR.CopyToProto(shipped)
            _add(pool, shipped, added)
    if file.name not in added:
        added.add(file.name)
        pool.Add(file)


def _shipped(name: str) -> Any:
    module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
    prefix = "confluent_kafka.schema_registry." if module.startswith("confluent.") else ""
    try:
        return importlib.import_module(prefix + module)
    except ImportError:
        raise ValueError(f"{name} is imported, and is not known here") from None


def _message_at(file: FileDescriptor, path: tuple[int, ...]) -> Descriptor:
    inside = list(file.message_types_by_name.values())
    for step in path:
        if step >= len(inside):
            raise Unreadable("names a message that its Protobuf schema does not have")
        found = inside[step]
        inside = list(found.nested_types)
    return found


def _converter(descriptor: Descriptor, known: dict[str, Convert]) -> Convert:
    """The function from a message to plain values; `known` holds those of the messages around it."""
    name = descriptor.full_name
    if name in known:
        return lambda message: known[name](message)
    special = _special(name)
    if special is not None:
        return special
    always: list[tuple[str, Convert | None]] = []
    when_set: list[tuple[str, Convert | None]] = []
    known[name] = _reader_of(always, when_set)
    for field in descriptor.fields:
        kind = always if field.is_repeated or not field.has_presence else when_set
        kind.append((field.name, _field_converter(field, known)))
    return known[name]


def _reader_of(always: list[tuple[str, Convert | None]], when_set: list[tuple[str, Convert | None]]) -> Convert:
    """Fields without presence are always there (0 is a value); the others only when they were written."""

    def convert(message: Message) -> dict[str, Any]:
        found = {}
        for name, convert_field in always:
            value = getattr(message, name)
            found[name] = value if convert_field is None else convert_field(value)
        for name, convert_field in when_set:
            if message.HasField(name):
                value = getattr(message, name)
                found[name] = value if convert_field is None else convert_field(value)
        return found

    return convert


def _field_converter(field: FieldDescriptor, known: dict[str, Convert]) -> Convert | None:
    """None when the value is already plain."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        one = _one_converter(inner.fields_by_name["value"], known)
        key = _map_key
        if one is None:
            return lambda entries: {key(name): value for name, value in entries.items()}
        convert = one
        return lambda entries: {key(name): convert(value) for name, value in entries.items()}
    one = _one_converter(field, known)
    if not field.is_repeated:
        return one
    return list if one is None else lambda values: [one(value) for value in values]


def _map_key(key: Any) -> str:
    return key if isinstance(key, str) else str(key).lower()


def _one_converter(field: FieldDescriptor, known: dict[str, Convert]) -> Convert | None:
    if field.message_type is not None:
        return _converter(field.message_type, known)
    if field.enum_type is not None:
        names: Mapping[int, str] = {number: value.name for number, value in field.enum_type.values_by_number.items()}
        # An enum may hold numbers that this version of the schema has no name for.
        return lambda number: names.get(number, number)
    return None


def _special(name: str) -> Convert | None:
    """Google's and Confluent's types whose JSON form is one value."""
    if name == "google.protobuf.Timestamp":
        return _timestamp
    if name == "confluent.type.Decimal":
        return _decimal
    if name in _WRAPPED:
        return lambda message: message.value
    if name in _PRINTED:
        return _printed
    if name == "google.protobuf.Any":
        return _refuse_any
    return None


def _timestamp(message: Any) -> datetime:
    """Cut to microseconds, which is what columns hold; nanoseconds are what most producers' clocks write."""
    if not 0 <= message.nanos < 1_000_000_000:
        raise Unreadable("holds a Timestamp with impossible nanoseconds")
    try:
        return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
    except OverflowError:
        raise Unreadable("holds a Timestamp outside of the years 1 to 9999") from None


def _decimal(message: Any) -> Decimal:
    if len(message.value) > _DIGITS_AT_MOST or abs(message.scale) > _DIGITS_AT_MOST:
        raise Unreadable("holds a Decimal of too many digits")
    return Decimal(int.from_bytes(message.value, "big", signed=True)).scaleb(-message.scale, _EXACT)


def _printed(message: Message) -> Any:
    try:
        return json_format.MessageToDict(message)
    except (json_format.SerializeToJsonError, ValueError) as error:
        raise Unreadable(f"holds a {message.DESCRIPTOR.name} without a JSON form ({type(error).__name__})") from None


def _refuse_any(_message: Message) -> Any:
    raise Unreadable("holds a google.protobuf.Any, whose type no schema names")
