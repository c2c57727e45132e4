"""Real events of a real Debezium decode to what is in the source's table."""

import math
import time
import uuid
from typing import Any

import numpy as np
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from msgspec import structs

from ingestd.batch import DELETES, Chunk, Rows, Tile, presence_of
from ingestd.config.options import Column, Pipeline
from ingestd.decode.debezium.types import contract_columns
from ingestd.decode.decoder import make_decoder
from ingestd.embedded.kafka import KafkaServer
from ingestd.schema.types import parse_type
from tests.debezium.changes import EventRecord, copy_of
from tests.debezium.every_type import SAMPLES
from tests.fix_debezium import Debezium

Source = psycopg.Connection[tuple[Any, ...]]
_WAIT_SECS = 60


def chunk_from(kafka: KafkaServer, topic: str, count: int) -> Chunk:
    """The first `count` records of a topic of one partition, as one chunk."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": "decode", "log_level": 2})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[EventRecord] = []
    deadline = time.monotonic() + _WAIT_SECS
    try:
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                found.append(EventRecord(message.value(), message.key(), message.offset() or 0))
    finally:
        consumer.close()
    assert len(found) == count
    return Chunk([Tile(3, 0, count)], found)


def copying(chunk: Chunk) -> Pipeline:
    """A pipeline with the columns and the key that the events of `chunk` tell."""
    bare = copy_of(key=(), columns="from_events")
    schema = make_decoder(bare)(chunk).source_schema
    assert schema is not None and schema.key is not None
    table = structs.replace(bare.table, key=schema.key)
    return structs.replace(bare, column=contract_columns(schema.columns, schema.key), table=table)


def fill(source: Source, first: int, samples: range) -> None:
    """Rows of the table `every`, one for each of `samples`."""
    for number in samples:
        values = [sample.values[min(number, len(sample.values) - 1)] for sample in SAMPLES.values()]
        source.execute(f"INSERT INTO every VALUES ({first + number}, {', '.join(values)})".encode())


def expected(source: Source, name: str) -> list[Any]:
    """What the copy's column must hold, in the order of the ids."""
    sample = SAMPLES[name]
    wanted = sample.copied or {
        "text": "{}::text",
        "jsonb": "{}::text",
        "jsonb[]": "CASE WHEN {0} IS NOT NULL THEN ARRAY(SELECT e::text FROM unnest({0}) e) END",
        "uuid[]": "{}::text[]",
    }.get(sample.contract, "{}")
    rows = source.execute(f"SELECT {wanted.format(name)} FROM every ORDER BY id".encode()).fetchall()
    return [row[0] for row in rows]


def comparable(value: Any, contract: str) -> Any:
    """Values of Arrow and of psycopg in one form."""
    if isinstance(value, list):
        return [comparable(one, contract.removesuffix("[]")) for one in value]
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else np.float32(value) if contract == "float4" else value
    if contract == "uuid" and isinstance(value, bytes):
        return uuid.UUID(bytes=value)
    if contract == "timestamptz" and value is not None:
        return value.replace(tzinfo=None)
    return value


def test_every_type_decodes_to_the_value_in_the_source(
    kafka: KafkaServer, debezium: Debezium, source_database: str
) -> None:
    """Years before 1582 are not in the snapshot: Debezium counts them there by the Julian calendar."""
    columns = ", ".join(f"{name} {sample.declared}" for name, sample in SAMPLES.items())
    with psycopg.connect(source_database, autocommit=True, options="-c TimeZone=UTC") as source:
        source.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
        source.execute(f"CREATE TABLE every (id int PRIMARY KEY, {columns})".encode())
        fill(source, 0, range(1, 5))
        captured = debezium(schemas=True, tables=(r"public\.every",))
        fill(source, 10, range(5))
        source.execute("INSERT INTO every (id) VALUES (20)")
        source.execute("DELETE FROM every WHERE id = 1")
        chunk = chunk_from(kafka, f"{captured.prefix}.public.every", 12)
        pipeline = copying(chunk)
        rows = make_decoder(pipeline)(chunk)
        assert [(letter.column, letter.reason) for letter in rows.dead] == []
        assert rows.columns.column(DELETES).to_pylist() == [False] * 10 + [True]
        assert rows.columns.column("id").to_pylist() == [1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 1]
        assert {column.name: column.type for column in pipeline.column if column.name != "id"} == {
            name: sample.contract for name, sample in SAMPLES.items()
        }
        for column in pipeline.column[1:]:
            kind = parse_type(column.type).name
            found = [comparable(value, kind) for value in rows.columns.column(column.name).to_pylist()]
            wanted = [comparable(value, kind) for value in expected(source, column.name)]
            # The row that was deleted is the first of the snapshot.
            assert found[1:10] == wanted, column.name
            assert found[10] is None


TOASTED = {
    "t": ("text", "repeat('x', 10000)"),
    "j": ("json", "to_json(repeat('x', 10000))"),
    "jb": ("jsonb", "to_jsonb(repeat('x', 10000))"),
    "by": ("bytea", "decode(repeat('00', 10000), 'hex')"),
    "vc": ("varchar", "repeat('x', 10000)"),
    "ts_s": ("text[]", "array_fill('x'::text, ARRAY[3000])"),
    "vcs": ("varchar[]", "array_fill('x'::varchar, ARRAY[3000])"),
    "i4s": ("int4[]", "array_fill(7, ARRAY[3000])"),
    "i8s": ("int8[]", "array_fill(7::int8, ARRAY[3000])"),
    "dts": ("date[]", "array_fill('2026-01-05'::date, ARRAY[3000])"),
    "jbs": ("jsonb[]", "array_fill('1'::jsonb, ARRAY[3000])"),
}


@pytest.mark.parametrize("schemas", [True, False])
def test_toasted_values_that_did_not_change_are_absent_in_every_type(
    kafka: KafkaServer, debezium: Debezium, source_database: str, schemas: bool
) -> None:
    with psycopg.connect(source_database, autocommit=True) as source:
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in TOASTED.items())
        source.execute(f"CREATE TABLE big (id int PRIMARY KEY, n int, {columns})".encode())
        for name in TOASTED:
            source.execute(f"ALTER TABLE big ALTER {name} SET STORAGE EXTERNAL".encode())
        captured = debezium(schemas=schemas, tables=(r"public\.big",))
        values = ", ".join(value for _, value in TOASTED.values())
        source.execute(f"INSERT INTO big VALUES (1, 1, {values})".encode())
        source.execute("UPDATE big SET n = 2")
        source.execute("UPDATE big SET n = 3, t = NULL, i4s = '{1}'")
        source.execute("UPDATE big SET id = 2")
        source.execute("ALTER TABLE big REPLICA IDENTITY FULL")
        source.execute("UPDATE big SET id = 3")
        # create, two updates; delete, tombstone, create without its values; the same with them
        chunk = chunk_from(kafka, f"{captured.prefix}.public.big", 9)
    rows = decode_big(chunk, schemas)
    assert [letter.offset for letter in rows.dead] == [5]
    assert "REPLICA IDENTITY FULL" in rows.dead[0].reason
    assert rows.columns.column("id").to_pylist() == [1, 1, 1, 1, 2, 3]
    assert rows.columns.column(DELETES).to_pylist() == [False, False, False, True, True, False]
    for name in TOASTED:
        present = rows.columns.column(presence_of(name)).to_pylist()
        assert present == [True, False, name in ("t", "i4s"), False, False, True], name
    assert rows.columns.column("i4s")[2].as_py() == [1]
    assert rows.columns.column("vc")[5].as_py() == "x" * 10_000


def decode_big(chunk: Chunk, schemas: bool) -> Rows:
    if schemas:
        return make_decoder(copying(chunk))(chunk)
    kinds = {
        name: kind.replace("varchar", "text").replace("json", "jsonb").replace("bb", "b")
        for name, (kind, _) in TOASTED.items()
    }
    declared = [Column(name=name, type=kind) for name, kind in {"id": "int4", "n": "int4", **kinds}.items()]
    return make_decoder(copy_of(*declared))(chunk)
