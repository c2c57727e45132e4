"""Cost of decoding the same records in every format, in us of CPU a record, on one core. Knows no server but its own.

python -m bench.decode_formats [--rows 20000] [--repeat 9]

CPU time and the least of the repeats: what else runs on the machine disturbs both little.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from bench.decode_stages import chunks_of, columns, transaction
from ingestd.config.options import Column, Pipeline, SchemaRegistry, Table
from ingestd.decode.decoder import make_decoder

AT = datetime(2025, 8, 15, 10, 30, tzinfo=UTC)
AVRO = {"amount": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}
AVRO |= {"timestamp": {"type": "long", "logicalType": "timestamp-micros"}}
JSON_TYPES = {"amount": "number", "processing_time_ms": "integer"}


class Registry(ThreadingHTTPServer):
    """Gives schema 1, whatever is asked."""

    answer: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Registry)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry on a free port of 127.0.0.1."""
    server = Registry(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def avro(records: Sequence[dict[str, Any]]) -> tuple[dict[str, str], list[bytes]]:
    """The registry's answer and the values: decimal, timestamp-micros, int, texts."""
    kinds = AVRO | {"processing_time_ms": "int"}
    fields = [{"name": name, "type": kinds.get(name, "string")} for name in records[0]]
    schema = {"type": "record", "name": "Transaction", "fields": fields}
    parsed = fastavro.parse_schema(schema)
    values = []
    for record in records:
        stream = BytesIO(b"\0\0\0\0\1")
        stream.seek(5)
        exact = {**record, "amount": Decimal(str(record["amount"])), "timestamp": AT}
        fastavro.schemaless_writer(stream, parsed, exact)
        values.append(stream.getvalue())
    return {"schema": json.dumps(schema)}, values


def protobuf(records: Sequence[dict[str, Any]]) -> tuple[dict[str, str], list[bytes]]:
    """The registry's answer and the values; amount and timestamp are text, int32, texts."""
    import base64

    file = FileDescriptorProto(name="bench.proto", syntax="proto3")
    message = file.message_type.add(name="Transaction")
    for number, name in enumerate(records[0], 1):
        is_number = name == "processing_time_ms"
        kind = FieldDescriptorProto.TYPE_INT32 if is_number else FieldDescriptorProto.TYPE_STRING
        message.field.add(name=name, number=number, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    pool = DescriptorPool()
    pool.Add(file)
    made: Any = GetMessageClass(pool.FindMessageTypeByName("Transaction"))
    texts = [{**record, "amount": str(record["amount"])} for record in records]
    values = [b"\0\0\0\0\1\0" + made(**record).SerializeToString() for record in texts]
    return {"schema": base64.b64encode(file.SerializeToString()).decode(), "schemaType": "PROTOBUF"}, values


def json_schema(records: Sequence[dict[str, Any]]) -> tuple[dict[str, str], list[bytes]]:
    """The registry's answer and the values; every field typed and required."""
    properties = {name: {"type": JSON_TYPES.get(name, "string")} for name in records[0]}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    values = [b"\0\0\0\0\1" + msgspec.json.encode(record) for record in records]
    return {"schema": json.dumps(schema), "schemaType": "JSON"}, values


def contract(form: str, declared: tuple[Column, ...]) -> Pipeline:
    """A pipeline of `declared`."""
    return Pipeline(name="bench", topic="bench", format=form, column=declared, table=Table(name="bench"))  # type: ignore[arg-type]


def least_cpu_us(work: Callable[[], Any], rows: int, repeat: int) -> float:
    """The least of `repeat` measurements, in us of CPU a row."""
    best = float("inf")
    for _ in range(repeat):
        began = time.thread_time()
        work()
        best = min(best, time.thread_time() - began)
    return best / rows * 1e6


def measure(pipeline: Pipeline, values: list[bytes], repeat: int, source: SchemaRegistry | None = None) -> None:
    """Prints one line. A dead letter would make the figure worthless."""
    decode = make_decoder(pipeline, source)
    chunks = chunks_of(values)
    assert not any(decode(chunk).dead for chunk in chunks)
    took = least_cpu_us(lambda: [decode(chunk) for chunk in chunks], len(values), repeat)
    print(f"{pipeline.format:<12} {sum(map(len, values)) / len(values):6.0f} bytes  {took:6.2f} us", flush=True)


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=9)
    args = parser.parse_args()
    gc.freeze()
    gc.disable()
    rng = random.Random(1)
    records = [transaction(rng) for _ in range(args.rows)]
    declared = columns(True, "numeric(10,2)", "timestamptz", "varchar(255)", "varchar")
    texts = [msgspec.json.encode(record) for record in records]
    measure(contract("json", declared), texts, args.repeat)
    with registry() as server:
        source = SchemaRegistry(url=f"http://127.0.0.1:{server.server_address[1]}")
        for form, written in (("json_schema", json_schema), ("avro", avro), ("protobuf", protobuf)):
            answer, values = written(records)
            server.answer = msgspec.json.encode(answer)
            measure(contract(form, declared), values, args.repeat, source)
    measure(contract("msgpack", declared), [msgspec.msgpack.encode(record) for record in records], args.repeat)
    for kind in ("bytea", "text", "jsonb"):
        print(f"  to {kind:<6}", end="")
        measure(contract("raw", (Column(name="value", type=kind),)), texts, args.repeat)


if __name__ == "__main__":
    main()
