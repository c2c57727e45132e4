"""Change events made by hand, as Debezium 3.4 documents them, and a decoder of them. Knows no server."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingestd.batch import Chunk, Rows, Tile
from ingestd.config.cdc import Cdc
from ingestd.config.options import Column, Pipeline, Table
from ingestd.decode.decoder import make_decoder

Field = dict[str, Any]


class EventRecord(msgspec.Struct):
    """A record of partition 3."""

    payload: bytes | None
    own_key: bytes | None
    at: int

    def value(self) -> bytes | None:
        return self.payload

    def key(self) -> bytes | None:
        return self.own_key

    def headers(self) -> list[tuple[str, bytes | None]]:
        return []

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000 + self.at)


def field(name: str, kind: str, logical: str | None = None, **more: Any) -> Field:
    """A field of a Connect schema."""
    named = {"name": logical, "version": 1} if logical else {}
    return {"type": kind, "optional": True, **named, **more, "field": name}


def decimal(name: str, precision: int, scale: int) -> Field:
    """A field of a precise decimal."""
    parameters = {"scale": str(scale), "connect.decimal.precision": str(precision)}
    return field(name, "bytes", "org.apache.kafka.connect.data.Decimal", parameters=parameters)


def event(
    op: str | None,
    after: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    fields: Sequence[Field] | None = None,
    lsn: int = 1000,
) -> bytes:
    """One envelope; with `fields` its schema stands in front, as JsonConverter writes it."""
    source = {"version": "3.4.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1, "snapshot": "false"}
    source |= {"db": "shop", "sequence": '["1","2"]', "schema": "public", "table": "orders", "txId": 7, "lsn": lsn}
    payload = {"before": before, "after": after, "source": source, "transaction": None, "op": op, "ts_ms": 2}
    if fields is None:
        return compact(payload)
    return compact({"schema": schema_of(fields), "payload": payload})


def schema_of(fields: Sequence[Field]) -> dict[str, Any]:
    """The Connect schema of an envelope around rows of these fields."""
    row = {"type": "struct", "fields": list(fields), "optional": True, "name": "shop.public.orders.Value"}
    rows = [row | {"field": "before"}, row | {"field": "after"}, {"type": "string", "optional": False, "field": "op"}]
    return {"type": "struct", "fields": rows, "optional": False, "name": "shop.public.orders.Envelope", "version": 2}


def compact(document: Any) -> bytes:
    """JSON as Connect's converter writes it."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(payload: Mapping[str, Any], fields: Sequence[Field] | None = None) -> bytes:
    """A record's key, with or without its schema."""
    if fields is None:
        return compact(payload)
    schema = {"type": "struct", "fields": list(fields), "optional": False, "name": "shop.public.orders.Key"}
    return compact({"schema": schema, "payload": payload})


def copy_of(*columns: Column, key: tuple[str, ...] = ("id",), **options: Any) -> Pipeline:
    """A pipeline that keeps a copy of `columns`; `options` are those of `[pipeline.cdc]`."""
    table = Table(name="orders", mode="upsert", key=key)
    return Pipeline(name="p", topic="shop.public.orders", cdc=Cdc(**options), column=columns, table=table)


def chunk_of(values: Sequence[bytes | None], keys: Sequence[bytes | None] | None = None) -> Chunk:
    """A chunk whose offsets begin at 100; without `keys` each record has the key {"id":offset}."""
    given = keys if keys is not None else [b'{"id":%d}' % (100 + n) for n in range(len(values))]
    records = [EventRecord(value, key, 100 + n) for n, (value, key) in enumerate(zip(values, given, strict=True))]
    return Chunk([Tile(3, 100, 100 + len(values))], records)


def decoded(pipeline: Pipeline, *values: bytes | None, keys: Sequence[bytes | None] | None = None) -> Rows:
    """What the decoder of `pipeline` makes of a chunk."""
    return make_decoder(pipeline)(chunk_of(values, keys))


def reasons(rows: Rows) -> dict[int, tuple[str | None, str]]:
    """Place in the chunk -> column and reason of the dead letters."""
    assert all(letter.stage == "decode" for letter in rows.dead)
    return {letter.offset - 100: (letter.column, letter.reason) for letter in rows.dead}


def one_value(column: Column, value: Any, source: Field | None = None) -> Any:
    """What becomes of one value of `column` in a create: itself, or the dead letter's reason as ("dead", reason)."""
    fields = None if source is None else [field("id", "int32"), source]
    rows = decoded(
        copy_of(Column(name="id", type="int4"), column), event("c", {"id": 1, column.name: value}, fields=fields)
    )
    if rows.dead:
        return ("dead", rows.dead[0].reason)
    return rows.columns.column(column.name)[0].as_py()
