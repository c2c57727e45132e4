"""Owns values written by Confluent's serializers, and a registry that answers as told. Must not know our decoder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

F = FieldDescriptorProto
BY_TOPIC = {"subject.name.strategy.type": "TOPIC"}


def client(url: str) -> SchemaRegistryClient:
    """To be closed."""
    return SchemaRegistryClient({"url": url})


def context(topic: str) -> SerializationContext:
    return SerializationContext(topic, MessageField.VALUE)


def avro_values(
    url: str, topic: str, schema: str, values: list[Any], parts: dict[str, str] | None = None
) -> list[bytes]:
    """`values` as Confluent's Avro serializer writes them; `parts` are registered first and referred to."""
    references = []
    with client(url) as registry:
        for name, text in (parts or {}).items():
            registry.register_schema(f"{topic}-{name}", Schema(text, "AVRO"))
            references.append(SchemaReference(name, f"{topic}-{name}", 1))
        write = AvroSerializer(registry, Schema(schema, "AVRO", references), conf=BY_TOPIC)
        return [write(value, context(topic)) for value in values]


def json_values(url: str, topic: str, schema: str, values: list[Any]) -> list[bytes]:
    """`values` as Confluent's JSON Schema serializer writes them."""
    with client(url) as registry:
        write = JSONSerializer(schema, registry, conf=BY_TOPIC)
        return [write(value, context(topic)) for value in values]


def protobuf_values(url: str, topic: str, made: Any, values: list[Any]) -> list[bytes]:
    """`values`, fields by name, as Confluent's Protobuf serializer writes them."""
    with client(url) as registry:
        write = ProtobufSerializer(made, registry, conf=BY_TOPIC)
        return [write(made(**value), context(topic)) for value in values]


def order_classes(package: str) -> tuple[Any, Any]:
    """Classes of Order and of Order.Note inside it; two files, one imports the other and Google's types."""
    money = FileDescriptorProto(name=f"{package}/money.proto", package=package, syntax="proto3")
    unit = money.message_type.add(name="Money")
    unit.field.add(name="cents", number=1, type=F.TYPE_INT64, label=F.LABEL_OPTIONAL)
    order = FileDescriptorProto(name=f"{package}/order.proto", package=package, syntax="proto3")
    order.dependency.extend([money.name, "google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    kind = order.enum_type.add(name="Kind")
    kind.value.add(name="UNKNOWN", number=0)
    kind.value.add(name="CARD", number=1)
    order.message_type.append(_order(package))
    pool = DescriptorPool()
    for file in (timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
    pool.Add(money)
    pool.Add(order)
    found = pool.FindMessageTypeByName(f"{package}.Order")
    return GetMessageClass(found), GetMessageClass(found.nested_types_by_name["Note"])


def _order(package: str) -> DescriptorProto:
    message = DescriptorProto(name="Order")
    message.nested_type.add(name="Note").field.add(name="text", number=1, type=F.TYPE_STRING, label=F.LABEL_OPTIONAL)
    scalars = {"id": F.TYPE_INT64, "at_least": F.TYPE_UINT64, "ratio": F.TYPE_DOUBLE, "blob": F.TYPE_BYTES}
    for name, scalar in scalars.items():
        message.field.add(name=name, number=len(message.field) + 1, type=scalar, label=F.LABEL_OPTIONAL)
    message.field.add(name="tags", number=10, type=F.TYPE_STRING, label=F.LABEL_REPEATED)
    kind = {"type": F.TYPE_ENUM, "type_name": f".{package}.Kind", "label": F.LABEL_OPTIONAL}
    message.field.add(name="kind", number=11, **kind)
    named = {
        "price": f".{package}.Money",
        "made_at": ".google.protobuf.Timestamp",
        "comment": ".google.protobuf.StringValue",
        "note": f".{package}.Order.Note",
    }
    for number, (name, type_name) in enumerate(named.items(), 20):
        message.field.add(name=name, number=number, type=F.TYPE_MESSAGE, type_name=type_name, label=F.LABEL_OPTIONAL)
    entry = message.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL)
    entry.field.add(name="value", number=2, type=F.TYPE_INT64, label=F.LABEL_OPTIONAL)
    message.field.add(
        name="counts",
        number=30,
        type=F.TYPE_MESSAGE,
        type_name=f".{package}.Order.CountsEntry",
        label=F.LABEL_REPEATED,
    )
    message.oneof_decl.add(name="_maybe")
    message.field.add(
        name="maybe", number=31, type=F.TYPE_INT32, label=F.LABEL_OPTIONAL, oneof_index=0, proto3_optional=True
    )
    return message


class Answers:
    """What the registry that answers as told says to everything, and how often it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self.port = 0


@contextmanager
def answering(answers: Answers) -> Iterator[str]:
    """The URL of an HTTP server that gives `answers`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append(self.path)
            answers.logins.append(self.headers.get("Authorization"))
            self.send_response(answers.status)
            self.send_header("Content-Length", str(len(answers.body)))
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
