"""Values written by Confluent's serializers with a real registry, read by ours; and a registry that fails."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from ingestd.batch import Rows
from ingestd.config.options import Pipeline, SchemaRegistry
from ingestd.decode.decoder import make_decoder
from ingestd.decode.formats.registry import Schemas, client_properties, public_url
from ingestd.errors import Halt, Retryable
from tests.decode.records import chunk_of
from tests.decode.registered import (
    Answers,
    answering,
    avro_values,
    client,
    json_values,
    order_classes,
    protobuf_values,
)
from tests.registry_server import RegistryServer

AVRO = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "blob", "type": "bytes"},
        {"name": "big", "type": "long"},
        {"name": "ratio", "type": ["null", "double"]},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["CARD", "CASH"]}},
        {"name": "who", "type": {"type": "record", "name": "Who", "fields": [{"name": "name", "type": "string"}]}},
    ],
}
AVRO_COLUMNS = [
    {"name": "id", "type": "uuid"},
    {"name": "amount", "type": "numeric(20,3)"},
    {"name": "at", "type": "timestamptz"},
    {"name": "day", "type": "date"},
    {"name": "blob", "type": "bytea"},
    {"name": "big", "type": "int8"},
    {"name": "ratio", "type": "float8"},
    {"name": "kind", "type": "text"},
    {"name": "who", "type": "text", "path": "who.name"},
]
PAYMENT: dict[str, Any] = {
    "id": UUID(int=7),
    "amount": Decimal("12345678901234567.005"),
    "at": datetime(2025, 8, 15, 10, 30, 0, 123456, tzinfo=UTC),
    "day": date(1999, 12, 31),
    "blob": b"\0\xff",
    "big": 2**63 - 1,
    "ratio": float("-inf"),
    "kind": "CASH",
    "who": {"name": "Zo\u00eb"},
}


def decoder(form: str, url: str, *columns: dict[str, Any]) -> Any:
    given = {"name": "p", "topic": "t", "format": form, "column": list(columns), "table": {"name": "t"}}
    return make_decoder(msgspec.convert(given, Pipeline), SchemaRegistry(url=url))


def decoded(form: str, url: str, values: list[bytes | None], *columns: dict[str, Any]) -> Rows:
    rows: Rows = decoder(form, url, *columns)(chunk_of(values))
    return rows


@pytest.fixture
def answers() -> Iterator[tuple[Answers, str]]:
    told = Answers()
    with answering(told) as url:
        yield told, url


def test_avro_value_arrives_exactly(registry: RegistryServer) -> None:
    values = avro_values(registry.url, "exact", json.dumps(AVRO), [PAYMENT, {**PAYMENT, "ratio": None}])
    rows = decoded("avro", registry.url, [*values], *AVRO_COLUMNS)
    assert not rows.dead
    first, second = rows.columns.to_pylist()
    assert UUID(bytes=first.pop("id")) == PAYMENT["id"]
    assert first == {**{name: PAYMENT[name] for name in first if name != "who"}, "who": "Zo\u00eb"}
    assert second["ratio"] is None


def test_avro_schema_that_refers_to_another_is_read(registry: RegistryServer) -> None:
    part = json.dumps({"type": "record", "name": "shop.Money", "fields": [{"name": "cents", "type": "long"}]})
    whole = {"type": "record", "name": "Order", "fields": [{"name": "price", "type": "shop.Money"}]}
    order = {"price": {"cents": 5}}
    values = avro_values(registry.url, "parts", json.dumps(whole), [order], {"shop.Money": part})
    rows = decoded("avro", registry.url, [*values], {"name": "cents", "type": "int8", "path": "price.cents"})
    assert (rows.columns.to_pylist(), rows.dead) == ([{"cents": 5}], [])


def test_newer_schema_of_the_same_topic_is_read_beside_the_older(registry: RegistryServer) -> None:
    old = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}]}
    new = {"type": "record", "name": "R", "fields": [*old["fields"], {"name": "b", "type": "long", "default": 0}]}
    values = avro_values(registry.url, "newer", json.dumps(old), [{"a": 1}])
    values += avro_values(registry.url, "newer", json.dumps(new), [{"a": 2, "b": 3}])
    rows = decoded("avro", registry.url, [*values], {"name": "a", "type": "int8"}, {"name": "b", "type": "int8"})
    assert rows.columns.to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": 3}]


def test_protobuf_value_is_read_without_generated_classes(registry: RegistryServer) -> None:
    order, _ = order_classes("shop")
    value = {
        "id": 2**63 - 1,
        "at_least": 2**64 - 1,
        "ratio": float("nan"),
        "blob": b"\0\xff",
        "tags": ["a", "b"],
        "kind": 1,
        "price": {"cents": -5},
        "made_at": datetime(2025, 8, 15, 10, 30, 0, 123456, tzinfo=UTC),
        "comment": {"value": ""},
        "counts": {7: 2**40},
        "maybe": 0,
    }
    columns = [
        {"name": "id", "type": "int8"},
        {"name": "at_least", "type": "numeric(20,0)"},
        {"name": "ratio", "type": "float8"},
        {"name": "blob", "type": "bytea"},
        {"name": "tags", "type": "text[]"},
        {"name": "kind", "type": "text"},
        {"name": "cents", "type": "int8", "path": "price.cents"},
        {"name": "made_at", "type": "timestamptz"},
        {"name": "comment", "type": "text"},
        {"name": "counts", "type": "jsonb"},
        {"name": "maybe", "type": "int4"},
    ]
    values = protobuf_values(registry.url, "orders", order, [value, {}, {"kind": 9}])
    rows = decoded("protobuf", registry.url, [*values], *columns)
    assert [letter.column for letter in rows.dead] == ["kind"], "9 has no name, and a number is no text"
    full, empty = rows.columns.to_pylist()
    assert full.pop("ratio") != 0
    assert full == {
        **{name: value[name] for name in ("id", "at_least", "blob", "tags", "made_at", "maybe")},
        "kind": "CARD",
        "cents": -5,
        "comment": "",
        "counts": '{"7":1099511627776}',
    }
    absent = dict.fromkeys(("cents", "made_at", "comment", "maybe"))
    assert empty == {"id": 0, "at_least": 0, "ratio": 0.0, "blob": b"", "tags": [], "kind": "UNKNOWN", **absent} | {
        "counts": "{}"
    }


def test_protobuf_message_inside_another_is_found_by_its_path(registry: RegistryServer) -> None:
    _, note = order_classes("nested")
    values = protobuf_values(registry.url, "notes", note, [{"text": "hello"}])
    rows = decoded("protobuf", registry.url, [values[0], values[0] + b"\xff"], {"name": "text", "type": "text"})
    assert rows.columns.to_pylist() == [{"text": "hello"}]
    assert [letter.payload for letter in rows.dead] == [values[0] + b"\xff"]


def test_protobuf_of_a_registry_that_gives_text_only_halts_with_the_reason(registry: RegistryServer) -> None:
    from confluent_kafka.schema_registry import Schema

    text = 'syntax = "proto3"; package far.away; message M { int64 id = 1; }'
    with client(registry.url) as known:
        schema_id = known.register_schema("text-value", Schema(text, "PROTOBUF"))
    value = b"\0" + schema_id.to_bytes(4, "big") + b"\0\x08\x01"
    with pytest.raises(Halt, match="descriptors"):
        decoded("protobuf", registry.url, [value], {"name": "id", "type": "int8"})


def test_json_of_a_registry_is_read_and_checked_against_its_schema(registry: RegistryServer) -> None:
    schema = {"title": "R", "type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]}
    [good] = json_values(registry.url, "checked", json.dumps(schema), [{"n": 2**60}])
    bad = good[:5] + b'{"n":-1}'
    rows = decoded("json_schema", registry.url, [good, bad, good[:5] + b"{"], {"name": "n", "type": "int8"})
    assert rows.columns.to_pylist() == [{"n": 2**60}]
    assert [letter.payload for letter in rows.dead] == [bad, good[:5] + b"{"]
    assert "minimum at n" in rows.dead[0].reason


def test_record_whose_schema_cannot_be_had_is_a_dead_letter_with_its_own_bytes(registry: RegistryServer) -> None:
    [good] = avro_values(registry.url, "dead", json.dumps(AVRO), [PAYMENT])
    draft = "http://json-schema.org/draft-07/schema#"
    schema = json.dumps({"$schema": draft, "title": "R", "type": "object"})
    [other] = json_values(registry.url, "dead-json", schema, [{}])
    bad = [b"\0\x7f\xff\xff\xff" + good[5:], b'{"id":1}', b"\1" + good[1:], other, good[:-1], b"", None]
    rows = decoded("avro", registry.url, [good, *bad, good], *AVRO_COLUMNS)
    assert len(rows.records) == 2
    assert [letter.payload for letter in rows.dead] == bad
    said = [letter.reason for letter in rows.dead]
    assert "schema id 2147483647 is not in the schema registry" in said[0]
    assert "kind JSON" in said[3]


def test_schema_is_asked_for_once_and_an_unknown_one_not_for_every_record(answers: tuple[Answers, str]) -> None:
    told, url = answers
    told.body = b'{"schema":"\\"string\\""}'
    decode = decoder("avro", url, {"name": "x", "type": "text"})
    for _ in range(3):
        assert len(decode(chunk_of([b"\0\0\0\0\5\2a"] * 50)).dead) == 50, "a text is no object"
    assert len(told.asked) == 1
    told.status, told.body = 404, b'{"error_code":40403,"message":"no"}'
    for _ in range(3):
        assert "not in the schema registry" in decode(chunk_of([b"\0\0\0\0\6\2a"] * 50)).dead[49].reason
    assert len(told.asked) == 2


@pytest.mark.parametrize("form", ["avro", "json_schema"])
def test_endlessly_deep_schema_is_not_asked_for_with_every_record(answers: tuple[Answers, str], form: str) -> None:
    told, url = answers
    deep = '{"type":"array","items":' * 3000 + '"int"' + "}" * 3000
    told.body = json.dumps({"schema": deep, "schemaType": {"avro": "AVRO", "json_schema": "JSON"}[form]}).encode()
    dead = decoded(form, url, [b"\0\0\0\0\7{}"] * 20, {"name": "x", "type": "text"}).dead
    assert [letter.reason for letter in dead if "schema cannot be used" not in letter.reason.lower()] == []
    assert len(dead) == 20 and len(told.asked) == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (500, b'{"error_code":50001,"message":"x"}', Retryable, "HTTP 500"),
        (503, b"<html>", Retryable, "HTTP 503"),
        (429, b"", Retryable, "HTTP 429"),
        (401, b'{"error_code":401,"message":"x"}', Halt, "access denied"),
        (403, b"", Halt, "access denied"),
        (404, b"<html>", Halt, "Confluent-compatible"),
        (404, b'{"error_code":404,"message":"HTTP 404 Not Found"}', Halt, "Confluent-compatible"),
        (200, b"<html>", Halt, "Confluent-compatible"),
        (200, b"[]", Halt, "Confluent-compatible"),
        (200, b'{"schema":null}', Halt, "Confluent-compatible"),
        (200, b'{"schema":5}', Halt, "Confluent-compatible"),
    ],
)
def test_fault_of_the_registry_is_never_a_dead_letter(
    answers: tuple[Answers, str], status: int, body: bytes, error: type[Exception], said: str
) -> None:
    told, url = answers
    told.status, told.body = status, body
    with_login = url.replace("http://", "http://reader:s3cr%3Aet@")
    with pytest.raises(error, match=said) as caught:
        decoded("avro", with_login, [b"\0\0\0\0\1\2"], {"name": "x", "type": "text"})
    assert "s3cr" not in str(caught.value) and "reader" not in str(caught.value)
    assert url in str(caught.value)
    assert told.logins == ["Basic " + base64.b64encode(b"reader:s3cr:et").decode()]


def test_registry_that_is_not_there_is_retried() -> None:
    with pytest.raises(Retryable, match="cannot be reached"):
        decoded("avro", "http://127.0.0.1:1", [b"\0\0\0\0\1\2"], {"name": "x", "type": "text"})


def test_wrong_property_of_the_client_halts_with_its_name() -> None:
    with pytest.raises(Halt, match=r"no\.such"):
        Schemas(SchemaRegistry(url="http://127.0.0.1:1", properties={"no.such": "x"})).ask()


def test_login_is_taken_out_of_every_address() -> None:
    registry = SchemaRegistry(url="https://u:p@a:1/x, https://u:p@b:2")
    assert public_url(registry) == "https://a:1/x,https://b:2"
    properties = client_properties(registry)
    assert (properties["url"], properties["basic.auth.user.info"]) == ("https://a:1/x,https://b:2", "u:p")


@pytest.mark.parametrize("package", ["confluent_kafka.schema_registry", "fastavro"])
def test_missing_package_halts_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, answers: tuple[Answers, str], package: str
) -> None:
    told, url = answers
    told.body = b'{"schema":"\\"string\\""}'
    monkeypatch.delitem(sys.modules, "ingestd.decode.formats.avro", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Halt, match=r"ingestd\[registry\]"):
        decoded("avro", url, [b"\0\0\0\0\1\2a"], {"name": "x", "type": "text"})
