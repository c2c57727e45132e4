"""Tables out of the schemas of change events, and the contract types that hold their columns."""

import json
from typing import Any

import pytest

from ingestd.config.options import Column
from ingestd.decode.debezium.avro_schema import avro_key_columns, avro_source_schema
from ingestd.decode.debezium.schema import NoSourceSchema, key_columns, source_schema
from ingestd.decode.debezium.types import contract_columns, contract_type, covers, uncovered
from ingestd.schema.source import SourceColumn
from ingestd.schema.types import parse_type


def connect(fields: list[dict[str, Any]], name: str = "shop.public.orders") -> bytes:
    row = {"type": "struct", "fields": fields, "optional": True, "name": f"{name}.Value"}
    rows = [row | {"field": "before"}, row | {"field": "after"}, {"type": "string", "optional": False, "field": "op"}]
    return json.dumps({"type": "struct", "fields": rows, "name": f"{name}.Envelope", "version": 1}).encode()


DECIMAL: dict[str, Any] = {
    "type": "bytes",
    "name": "org.apache.kafka.connect.data.Decimal",
    "version": 1,
    "parameters": {"scale": "2", "connect.decimal.precision": "10"},
}


def test_columns_and_name_come_from_the_row_inside_the_envelope() -> None:
    id_field = {"type": "int32", "optional": False, "default": 0, "field": "id"}
    schema = source_schema(connect([id_field, DECIMAL | {"optional": True, "field": "price"}]))
    assert schema.name == "shop.public.orders"
    assert schema.columns == (
        SourceColumn("id", "int32", optional=False, default=0),
        SourceColumn("price", "bytes", DECIMAL["name"], {"scale": "2", "connect.decimal.precision": "10"}),
    )
    assert [(c.name, c.type, c.required) for c in contract_columns(schema.columns, ["id"])] == [
        ("id", "int4", True),
        ("price", "numeric(10,2)", False),
    ]


def test_columns_of_the_key_are_those_of_the_key_schema() -> None:
    schema = {"type": "struct", "fields": [{"type": "int32", "field": "b"}, {"type": "string", "field": "a"}]}
    assert key_columns(json.dumps(schema).encode()) == ("b", "a")
    avro = {"type": "record", "name": "Key", "fields": [{"name": "b", "type": "int"}, {"name": "a", "type": "string"}]}
    assert avro_key_columns(json.dumps(avro)) == ("b", "a")


def test_avro_writers_schemas_tell_the_same_table_as_connects() -> None:
    decimal = {
        "type": "bytes",
        "scale": 2,
        "precision": 10,
        "connect.version": 1,
        "connect.parameters": {"scale": "2", "connect.decimal.precision": "10"},
        "connect.name": "org.apache.kafka.connect.data.Decimal",
        "logicalType": "decimal",
    }
    at = {"type": "long", "connect.version": 1, "connect.name": "io.debezium.time.MicroTimestamp"}
    tags = ["null", {"type": "array", "items": ["null", "string"]}]
    fields = [
        {"name": "id", "type": {"type": "int", "connect.type": "int16"}},
        {"name": "price", "type": ["null", decimal], "default": None},
        {"name": "at", "type": at},
        {"name": "tags", "type": tags, "default": None},
    ]
    value = {"type": "record", "name": "Value", "fields": fields, "connect.name": "shop.public.orders.Value"}
    envelope = {
        "type": "record",
        "name": "Envelope",
        "namespace": "shop.public.orders",
        "fields": [
            {"name": "before", "type": ["null", value], "default": None},
            {"name": "after", "type": ["null", "Value"], "default": None},
            {"name": "op", "type": "string"},
        ],
        "connect.name": "shop.public.orders.Envelope",
    }
    schema = avro_source_schema(json.dumps(envelope))
    assert schema.name == "shop.public.orders"
    assert [contract_type(column) for column in schema.columns] == ["int2", "numeric(10,2)", "timestamp", "text[]"]
    assert [column.optional for column in schema.columns] == [False, True, False, True]
    assert [column.native for column in schema.columns] == [False, True, False, False]


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"scale": "2", "connect.decimal.precision": "10"}, "numeric(10,2)"),
        ({"scale": "38", "connect.decimal.precision": "38"}, "numeric(38,38)"),
        ({"scale": "-3", "connect.decimal.precision": "5"}, "numeric(8,0)"),
        ({"scale": "5", "connect.decimal.precision": "3"}, "numeric(5,5)"),
        ({"scale": "2046", "connect.decimal.precision": "5"}, "numeric(7,0)"),
        ({"scale": "2", "connect.decimal.precision": "50"}, "text"),
        ({"scale": "2"}, "numeric(38,2)"),
        ({"scale": "x"}, "text"),
        ({}, "numeric(38,0)"),
    ],
)
def test_a_decimal_column_is_never_narrower_than_its_source(parameters: dict[str, str], wanted: str) -> None:
    column = SourceColumn("price", "bytes", "org.apache.kafka.connect.data.Decimal", parameters)
    assert contract_type(column) == wanted


def test_what_nobody_knows_is_jsonb_and_never_a_crash() -> None:
    strange = SourceColumn("x", "quaternion", "com.example.Quaternion")
    point = SourceColumn("p", "struct", "io.debezium.data.geometry.Point")
    deep = SourceColumn("d", "array", items=SourceColumn("item", "array", items=SourceColumn("item", "int32")))
    geometries = SourceColumn("g", "array", items=SourceColumn("item", "struct", "io.debezium.data.geometry.Geometry"))
    assert [contract_type(column) for column in (strange, point, deep, geometries)] == ["jsonb"] * 4


@pytest.mark.parametrize(
    "schema",
    [
        b"",
        b"[]",
        b'"struct"',
        b'{"type":"string"}',
        b'{"type":"struct","fields":[1]}',
        b'{"type":"struct","fields":[]}',
        b'{"type":"struct","fields":[{"field":"after","type":"int32"}]}',
        connect([{"type": "int32"}]),
        connect([{"type": "int32", "field": "a"}, {"type": "int32", "field": "a"}]),
        b"[" * 100_000,
    ],
)
def test_a_schema_that_is_none_of_a_table_is_refused_with_a_reason(schema: bytes) -> None:
    with pytest.raises(NoSourceSchema, match="schema"):
        source_schema(schema)


@pytest.mark.parametrize("text", ["", "[]", '"string"', '{"type":"record","fields":[1]}', '{"type":"array"}'])
def test_an_avro_schema_that_is_none_of_a_table_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(NoSourceSchema, match="schema"):
        avro_source_schema(text)


def test_columns_that_take_every_value_need_no_change() -> None:
    fields = [
        {"type": "int32", "field": "id"},
        DECIMAL | {"field": "price"},
        {"type": "string", "field": "note"},
        {"type": "boolean", "field": "paid"},
    ]
    own = (
        Column(name="id", type="int8"),
        Column(name="price", type="numeric(9,2)"),
        Column(name="words", type="text", path="note"),
    )
    assert [column.name for column in uncovered(source_schema(connect(fields)), own)] == ["price", "paid"]


@pytest.mark.parametrize(
    ("stored", "seen", "wanted"),
    [
        ("int8", "int4", True),
        ("int4", "int8", False),
        ("numeric(12,2)", "numeric(10,2)", True),
        ("numeric(12,4)", "numeric(10,2)", True),
        ("numeric(11,3)", "numeric(10,2)", True),
        ("numeric(10,3)", "numeric(10,2)", False),
        ("numeric(10,0)", "int4", True),
        ("numeric(10,0)", "int8", False),
        ("text", "date", True),
        ("text", "int4[]", False),
        ("int8[]", "int4[]", True),
        ("varchar(10)", "varchar(5)", True),
        ("varchar(5)", "text", False),
        ("timestamptz", "timestamp", False),
        ("jsonb", "jsonb", True),
    ],
)
def test_a_column_covers_a_type_only_when_no_value_changes(stored: str, seen: str, wanted: bool) -> None:
    assert covers(parse_type(stored), parse_type(seen)) is wanted
