"""Change events in Avro, named by a registry, as Connect's Avro converter writes them."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from msgspec import structs

from ingestd.batch import DELETES, Rows, presence_of
from ingestd.config.options import Column, Pipeline, SchemaRegistry
from ingestd.decode.debezium.types import contract_columns
from ingestd.decode.decoder import make_decoder
from tests.debezium.changes import chunk_of, copy_of
from tests.decode.registered import avro_values
from tests.registry_server import RegistryServer

DECIMAL = {
    "type": "bytes",
    "scale": 2,
    "precision": 10,
    "connect.version": 1,
    "connect.parameters": {"scale": "2", "connect.decimal.precision": "10"},
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "logicalType": "decimal",
}
VARIABLE = {
    "type": "record",
    "name": "VariableScaleDecimal",
    "namespace": "io.debezium.data",
    "fields": [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}],
    "connect.name": "io.debezium.data.VariableScaleDecimal",
}
CONNECT_DATE = {"type": "int", "connect.name": "org.apache.kafka.connect.data.Date", "logicalType": "date"}


def nullable(kind: Any) -> list[Any]:
    return ["null", kind]


def logical(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "connect.version": 1, "connect.name": f"io.debezium.{name}"}


ROW = [
    {"name": "id", "type": "int"},
    {"name": "price", "type": nullable(DECIMAL), "default": None},
    {"name": "free", "type": nullable(VARIABLE), "default": None},
    {"name": "day", "type": nullable(logical("int", "time.Date")), "default": None},
    {"name": "other_day", "type": nullable(CONNECT_DATE), "default": None},
    {"name": "at", "type": nullable(logical("long", "time.MicroTimestamp")), "default": None},
    {"name": "zoned", "type": nullable(logical("string", "time.ZonedTimestamp")), "default": None},
    {"name": "body", "type": nullable("bytes"), "default": None},
    {"name": "doc", "type": nullable(logical("string", "data.Json")), "default": None},
    {"name": "tags", "type": nullable({"type": "array", "items": nullable("string")}), "default": None},
]
SOURCE = {"type": "record", "name": "Source", "fields": [{"name": "lsn", "type": nullable("long"), "default": None}]}


def envelope() -> str:
    value = {"type": "record", "name": "Value", "fields": ROW, "connect.name": "shop.public.orders.Value"}
    fields = [
        {"name": "before", "type": nullable(value), "default": None},
        {"name": "after", "type": nullable("Value"), "default": None},
        {"name": "source", "type": SOURCE},
        {"name": "op", "type": "string"},
    ]
    names = {"name": "Envelope", "namespace": "shop.public.orders", "connect.name": "shop.public.orders.Envelope"}
    return json.dumps({"type": "record", "fields": fields, **names})


KEY = json.dumps({"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]})
FULL = {
    "id": 1,
    "price": Decimal("-12.30"),
    "free": {"scale": 1, "value": b"\x7b"},
    "day": 20458,
    "other_day": date(2026, 1, 5),
    "at": 1_767_609_000_123_456,
    "zoned": "2026-01-05T08:30:00.123456Z",
    "body": b"\x00\xff",
    "doc": '{"a": null}',
    "tags": ["a", None],
}
EMPTY = dict.fromkeys(FULL)
UNAVAILABLE = "__debezium_unavailable_value"


def change(op: str, after: Any, before: Any = None, lsn: int = 5) -> dict[str, Any]:
    return {"before": before, "after": after, "source": {"lsn": lsn}, "op": op}


def decoded(url: str, pipeline: Pipeline, values: list[bytes | None], keys: list[bytes | None]) -> Rows:
    return make_decoder(pipeline, SchemaRegistry(url=url))(chunk_of(values, keys))


def test_avro_events_tell_their_columns_and_decode_to_the_same_values_as_json(registry: RegistryServer) -> None:
    changes = [
        change("c", FULL),
        change("u", EMPTY | {"id": 2}),
        change("u", FULL | {"doc": UNAVAILABLE, "body": UNAVAILABLE.encode(), "tags": [UNAVAILABLE]}),
        change("d", None, EMPTY | {"id": 3}),
        change("d", None),
    ]
    values = [*avro_values(registry.url, "shop.public.orders", envelope(), changes), None]
    (key,) = avro_values(registry.url, "shop.public.orders-key", KEY, [{"id": 4}])
    bare = structs.replace(copy_of(key=(), columns="from_events", lsn_column="lsn"), format="avro")
    schema = decoded(registry.url, bare, values, [key] * 6).source_schema
    assert schema is not None and schema.key is not None
    assert (schema.key, schema.name) == (("id",), "shop.public.orders")
    columns = contract_columns(schema.columns, schema.key)
    assert [column.type for column in columns] == [
        "int4", "numeric(10,2)", "text", "date", "date", "timestamp", "timestamptz", "bytea", "jsonb", "text[]",
    ]  # fmt: skip
    pipeline = structs.replace(bare, column=columns, table=structs.replace(bare.table, key=schema.key))
    rows = decoded(registry.url, pipeline, values, [key] * 6)
    assert (rows.dead, rows.source_schema, rows.ignored) == ([], None, [(3, 105)])
    assert rows.columns.select([column.name for column in columns])[:1].to_pylist() == [
        FULL
        | {
            "free": "12.3",
            "day": date(2026, 1, 5),
            "at": datetime(2026, 1, 5, 10, 30, 0, 123456),
            "zoned": datetime(2026, 1, 5, 8, 30, 0, 123456, tzinfo=UTC),
        }
    ]
    assert rows.columns.column("id").to_pylist() == [1, 2, 1, 3, 4]
    assert rows.columns.column(DELETES).to_pylist() == [False, False, False, True, True]
    assert rows.columns.column("lsn").to_pylist() == [5] * 5
    for name in ("doc", "body", "tags"):
        assert rows.columns.column(presence_of(name)).to_pylist() == [True, True, False, False, False]


def test_avro_values_that_are_no_change_events_are_refused_or_passed_over(registry: RegistryServer) -> None:
    flat = json.dumps({"type": "record", "name": "Flat", "fields": [{"name": "id", "type": "int"}]})
    beat = json.dumps({"type": "record", "name": "Heartbeat", "fields": [{"name": "ts_ms", "type": "long"}]})
    values: list[bytes | None] = [
        *avro_values(registry.url, "flat", flat, [{"id": 1}]),
        *avro_values(registry.url, "beat", beat, [{"ts_ms": 1}]),
        b"\0\0\xff\xff\xff1",
        b"json",
        *avro_values(registry.url, "shop.public.orders", envelope(), [change("c", FULL), change("t", None)]),
    ]
    pipeline = structs.replace(
        copy_of(Column(name="id", type="int4"), Column(name="price", type="text")), format="avro"
    )
    rows = decoded(registry.url, pipeline, values, [None] * len(values))
    assert [letter.offset for letter in rows.dead] == [100, 102, 103]
    assert (rows.ignored, rows.truncates) == ([(3, 101)], [(3, 105)])
    # A decimal that Avro's own library read keeps its digits in a text too.
    assert rows.columns.column("price").to_pylist() == ["-12.30"]
