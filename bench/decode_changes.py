"""Debezium's change events into rows, a table of ten columns, in us and events a second on one core. Knows no server.

python -m bench.decode_changes [--events 40000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import random
import time
from typing import Any

from bench.memory_records import MemoryRecord
from ingestd.batch import Chunk, Tile
from ingestd.config.cdc import Cdc
from ingestd.config.options import Column, Pipeline, Table
from ingestd.decode.decoder import make_decoder

CHUNK = 2000
_DECIMAL = {"parameters": {"scale": "2", "connect.decimal.precision": "12"}}
FIELDS: list[tuple[str, str, str | None, str]] = [
    ("id", "int64", None, "int8"),
    ("customer", "string", "io.debezium.data.Uuid", "uuid"),
    ("status", "string", None, "text"),
    ("note", "string", None, "text"),
    ("amount", "bytes", "org.apache.kafka.connect.data.Decimal", "numeric(12,2)"),
    ("ordered_on", "int32", "io.debezium.time.Date", "date"),
    ("created_at", "int64", "io.debezium.time.MicroTimestamp", "timestamp"),
    ("updated_at", "string", "io.debezium.time.ZonedTimestamp", "timestamptz"),
    ("paid", "boolean", None, "bool"),
    ("details", "string", "io.debezium.data.Json", "jsonb"),
]


def schema() -> dict[str, Any]:
    """The envelope's schema as Connect's converter writes it, with the whole of Debezium's source block."""
    fields = [
        {"type": kind, "optional": name != "id", **({"name": logical, "version": 1} if logical else {})}
        | (_DECIMAL if logical and logical.endswith("Decimal") else {})
        | {"field": name}
        for name, kind, logical, _ in FIELDS
    ]
    row = {"type": "struct", "fields": fields, "optional": True, "name": "shop.public.orders.Value"}
    source = [{"type": "string", "optional": True, "field": f"source_field_{n}"} for n in range(14)]
    block = {"type": "struct", "fields": source, "optional": False, "name": "io.debezium.connector.postgresql.Source"}
    others = [{"type": "int64", "optional": True, "field": name} for name in ("ts_ms", "ts_us", "ts_ns")]
    rows = [row | {"field": "before"}, row | {"field": "after"}, block | {"field": "source"}]
    op = {"type": "string", "optional": False, "field": "op"}
    return {"type": "struct", "fields": [*rows, op, *others], "optional": False, "name": "shop.public.orders.Envelope"}


def row_of(rng: random.Random, number: int) -> dict[str, Any]:
    """One row, its values as Debezium sends them."""
    cents = rng.randint(-(10**9), 10**9)
    return {
        "id": number,
        "customer": f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}",
        "status": "shipped",
        "note": "left at the door of the neighbours",
        "amount": base64.b64encode(cents.to_bytes(5, "big", signed=True)).decode(),
        "ordered_on": rng.randint(18_000, 20_000),
        "created_at": rng.randint(1_600_000_000_000_000, 1_800_000_000_000_000),
        "updated_at": "2026-01-05T10:30:00.123456Z",
        "paid": True,
        "details": '{"items": [1, 2, 3], "gift": false}',
    }


def event(rng: random.Random, number: int, head: bytes, deletes: float) -> bytes:
    """One envelope behind `head`, the schema; b"" for none."""
    source = {"version": "3.4.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1_700_000_000_000}
    source |= {"snapshot": "false", "db": "shop", "sequence": '["24023128","24023128"]', "schema": "public"}
    source |= {"table": "orders", "txId": 555, "lsn": 24023128 + number, "xmin": None}
    after = row_of(rng, number)
    gone = rng.random() < deletes
    payload: dict[str, Any] = {"before": after if gone else None, "after": None if gone else after, "source": source}
    payload |= {"transaction": None, "op": "d" if gone else rng.choice("cu"), "ts_ms": 1_700_000_000_001}
    text = json.dumps(payload, separators=(",", ":")).encode()
    return head + text + b"}" if head else text


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    gc.freeze()
    columns = tuple(Column(name=name, type=kind, required=name == "id") for name, _, _, kind in FIELDS)
    table = Table(name="orders", mode="upsert", key=("id",))
    pipeline = Pipeline(name="b", topic="shop.public.orders", column=columns, table=table, cdc=Cdc(lsn_column="lsn"))
    with_schema = b'{"schema":' + json.dumps(schema(), separators=(",", ":")).encode() + b',"payload":'
    for name, head, deletes in (
        ("without a schema", b"", 0.0),
        ("without a schema, 10 % deletes", b"", 0.1),
        ("with a schema", with_schema, 0.0),
        ("with a schema, 10 % deletes", with_schema, 0.1),
    ):
        rng = random.Random(1)
        values = [event(rng, number, head, deletes) for number in range(args.events)]
        records = [MemoryRecord(value, at) for at, value in enumerate(values)]
        chunks = [Chunk([Tile(0, at, at + CHUNK)], records[at : at + CHUNK]) for at in range(0, args.events, CHUNK)]
        decode = make_decoder(pipeline)
        dead = sum(len(decode(chunk).dead) for chunk in chunks)
        least = float("inf")
        for _ in range(args.repeat):
            began = time.process_time()
            for chunk in chunks:
                decode(chunk)
            least = min(least, time.process_time() - began)
        size = sum(map(len, values)) / len(values)
        rate = f"{args.events / least:10,.0f} events/s  {least / args.events * 1e6:6.2f} us"
        print(f"{name:<32} {size:6.0f} bytes  {rate}  {dead} dead")


if __name__ == "__main__":
    main()
