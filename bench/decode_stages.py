"""Cost of each stage of decoding, in us per row, alone on a core. Knows no server.

python -m bench.decode_stages [--rows 50000] [--repeat 9]
"""

from __future__ import annotations

import argparse
import gc
import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ingestd.batch import Chunk, Record, Tile
from ingestd.config.options import Column, Pipeline, Table
from ingestd.decode.builders import builder_for
from ingestd.decode.decoder import make_decoder
from ingestd.decode.shape import shape_of
from ingestd.schema.postgres import Schema

CHUNK = 2000
TEXTS = ["tx_id", "user_id", "currency", "merchant", "category", "source_system", "transaction_type"]


class Sample(msgspec.Struct):
    """A record in memory with the shape of a Kafka message."""

    payload: bytes

    def value(self) -> bytes:
        return self.payload

    def key(self) -> None:
        return None

    def headers(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


def transaction(rng: random.Random) -> dict[str, Any]:
    """One record of the transactions profile, 10 fields."""
    return {
        "tx_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "user_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "amount": rng.randint(1, 9_999_999) / 100,
        "currency": "USD",
        "merchant": "merchant inc",
        "category": "grocer",
        "timestamp": "2025-08-15T10:30:00Z",
        "source_system": "streaming_kafka",
        "transaction_type": "real_time",
        "processing_time_ms": rng.randint(5, 500),
    }


def columns(required: bool, amount: str, at: str, text: str = "text", identity: str = "text") -> tuple[Column, ...]:
    """The 10 columns of the transactions table, with the types given."""
    types = dict.fromkeys(TEXTS, text) | {"amount": amount, "timestamp": at, "processing_time_ms": "int4"}
    types |= {"tx_id": identity, "user_id": identity}
    order = transaction(random.Random(0))
    return tuple(Column(name=name, type=types[name], required=required) for name in order)


def chunks_of(values: Sequence[bytes]) -> list[Chunk]:
    """`values` as chunks of 2,000."""
    records: list[Record] = [Sample(value) for value in values]
    starts = range(0, len(values), CHUNK)
    return [Chunk([Tile(0, start, start + CHUNK)], records[start : start + CHUNK]) for start in starts]


def least_us(work: Callable[[], Any], rows: int, repeat: int) -> float:
    """The least of `repeat` measurements, in us per row."""
    best = float("inf")
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best / rows * 1e6


def contract(declared: tuple[Column, ...]) -> Pipeline:
    """A pipeline of `declared`."""
    return Pipeline(name="bench", topic="bench", column=declared, table=Table(name="bench"))


def whole(name: str, declared: tuple[Column, ...], values: Sequence[bytes], repeat: int) -> None:
    """Measures the decoder as the worker calls it."""
    decode = make_decoder(contract(declared))
    chunks = chunks_of(values)
    took = least_us(lambda: [decode(chunk) for chunk in chunks], len(values), repeat)
    dead = sum(len(decode(chunk).dead) for chunk in chunks)
    print(f"{name:<58} {took:6.3f} us/row   {dead} dead")


def stages(declared: tuple[Column, ...], values: Sequence[bytes], repeat: int) -> None:
    """Measures the decoder's stages one after the other."""
    shape = shape_of(declared)
    parts = [list(values[start : start + CHUNK]) for start in range(0, len(values), CHUNK)]
    read = [list(map(shape.read, part)) for part in parts]
    split = [shape.split(rows) for rows in read]
    rows = len(values)
    chunks = chunks_of(values)
    took = least_us(lambda: [[record.value() for record in chunk.records] for chunk in chunks], rows, repeat)
    print(f"  values {took:.3f}", end="")
    print(f"  read {least_us(lambda: [list(map(shape.read, part)) for part in parts], rows, repeat):.3f}", end="")
    print(f"  split {least_us(lambda: [shape.split(part) for part in read], rows, repeat):.3f}")
    for position, column in enumerate(declared):
        make = builder_for(column)
        took = least_us(lambda: [make(found[position]) for found in split], rows, repeat)  # noqa: B023
        print(f"    {column.name:<20} {column.type:<16} {took:.3f}")
    encode = Schema.of(declared).encoder()
    batches = [make_decoder(contract(declared))(chunk).columns for chunk in chunks]
    print(f"  encode {least_us(lambda: [encode(batch) for batch in batches], rows, repeat):.3f}")


def each_type(rows: int, repeat: int) -> None:
    """Measures a record of one column, type by type."""
    rng = random.Random(7)
    samples: dict[str, Callable[[], Any]] = {
        "text": lambda: "merchant inc",
        "varchar(20)": lambda: "merchant inc",
        "int4": lambda: rng.randint(0, 1 << 30),
        "int8": lambda: rng.randint(0, 1 << 60),
        "float4": lambda: rng.random(),
        "float8": lambda: rng.random(),
        "numeric(10,2)": lambda: rng.randint(0, 10**9) / 100,
        "numeric(38,10)": lambda: str(rng.randint(0, 10**27)),
        "bool": lambda: True,
        "uuid": lambda: str(uuid.UUID(int=rng.getrandbits(128))),
        "timestamptz": lambda: "2025-08-15T10:30:00.123456Z",
        "timestamp": lambda: "2025-08-15T10:30:00.123456",
        "date": lambda: "2025-08-15",
        "time": lambda: "10:30:00.5",
        "jsonb": lambda: {"a": [1, 2, 3], "b": "text"},
        "bytea": lambda: "aGVsbG8gd29ybGQ=",
        "int4[]": lambda: [1, 2, 3],
        "numeric(10,2)[]": lambda: [1.25, 2.5],
        "timestamptz[]": lambda: ["2025-08-15T10:30:00Z"],
        "uuid[]": lambda: [str(uuid.UUID(int=rng.getrandbits(128)))],
    }
    for kind, value in samples.items():
        values = [msgspec.json.encode({"x": value()}) for _ in range(rows)]
        whole(f"  one column: {kind}", (Column(name="x", type=kind),), values, repeat)
    epochs = [msgspec.json.encode({"x": 1_755_253_800 + rng.random()}) for _ in range(rows)]
    whole(
        "  one column: timestamptz, epoch s, floats", (Column(name="x", type="timestamptz", epoch="s"),), epochs, repeat
    )


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=9)
    args = parser.parse_args()
    gc.freeze()
    rng = random.Random(1)
    values = [msgspec.json.encode(transaction(rng)) for _ in range(args.rows)]
    simple = columns(True, "float8", "timestamptz")
    exact = columns(True, "numeric(10,2)", "timestamp", "varchar(255)", "varchar")
    whole("10 columns: text, float8, timestamptz, int4; required", simple, values, args.repeat)
    whole("the same, nullable", columns(False, "float8", "timestamptz"), values, args.repeat)
    whole("10 columns: varchar(n), numeric(10,2), timestamp", exact, values, args.repeat)
    whole("the same with uuid ids", columns(True, "numeric(10,2)", "timestamptz", identity="uuid"), values, args.repeat)
    spoilt = {"malformed": b'{"tx_id":', "amount of 3 decimals": b"1.005", "bad timestamp": b'"2025-02-30T10:30:00Z"'}
    for what, bad in spoilt.items():
        hostile = list(values)
        for row in range(0, len(hostile), 100):
            good = msgspec.json.decode(hostile[row])
            if what == "amount of 3 decimals":
                good["amount"] = 1.005
            elif what == "bad timestamp":
                good["timestamp"] = msgspec.json.decode(bad)
            hostile[row] = bad if what == "malformed" else msgspec.json.encode(good)
        whole(f"1 % bad: {what}", exact, hostile, args.repeat)
    print("stages, us/row:")
    stages(exact, values, args.repeat)
    each_type(args.rows, args.repeat)


if __name__ == "__main__":
    main()
