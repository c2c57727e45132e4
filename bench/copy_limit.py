"""What PostgreSQL can take: COPY of rows that were read and encoded before the clock starts.

Run as `python -m bench.copy_limit BOOTSTRAP TOPIC TARGET direct|staged PARTITION...` with the database's URL in
BENCH_STORE_URL: writes "ready", waits for a line on stdin, copies, writes the number of rows. Knows nothing of ingestd.
"""

import os
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import msgspec
import pgpq
import psycopg
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition

from bench.tables import TARGETS, Target

BATCH_ROWS = 20_000


class Transaction(msgspec.Struct, gc=False):
    """A record of the transactions profile."""

    tx_id: str
    user_id: str
    amount: Decimal
    currency: str
    merchant: str
    category: str
    timestamp: datetime
    source_system: str
    transaction_type: str
    processing_time_ms: int


def encode(target: Target, values: list[bytes]) -> bytes:
    """A binary COPY stream of the records, sorted by key."""
    rows = list(map(msgspec.json.Decoder(Transaction).decode, values))
    columns = []
    for field, kind in zip(target.fields, target.arrow, strict=True):
        cells = [getattr(row, field) for row in rows]
        if pa.types.is_floating(kind.type):
            cells = [float(cell) for cell in cells]
        elif pa.types.is_timestamp(kind.type) and kind.type.tz is None:
            cells = [cell.replace(tzinfo=None) for cell in cells]
        columns.append(pa.array(cells, kind.type))
    table = pa.Table.from_arrays(columns, schema=target.arrow).sort_by("tx_id").combine_chunks()
    encoder = pgpq.ArrowToPostgresBinaryEncoder(target.arrow)
    return bytes(encoder.write_header() + encoder.write_batch(table.to_batches()[0]) + encoder.finish())


def batches(bootstrap_servers: str, topic: str, partitions: list[int]) -> Iterator[list[bytes]]:
    """The values of these partitions, in batches."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "bench-copy-limit",
            "enable.auto.commit": False,
            "queued.max.messages.kbytes": 64_000,
            "fetch.message.max.bytes": 8_000_000,
        }
    )
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in partitions]
    left = sum(end - start for start, end in ends)
    consumer.assign([TopicPartition(topic, p, start) for p, (start, _) in zip(partitions, ends, strict=True)])
    values: list[bytes] = []
    while left:
        found = [message.value() or b"" for message in consumer.consume(min(2000, BATCH_ROWS - len(values), left), 1.0)]
        values += found
        left -= len(found)
        if len(values) == BATCH_ROWS or (values and not left):
            yield values
            values = []
    consumer.close()


def copy(connection: psycopg.Connection, target: Target, staged: bool, stream: bytes) -> None:
    """One batch, one transaction."""
    names = ", ".join(target.arrow.names)
    into = "bench_staging" if staged else target.table
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {into} ({names}) FROM STDIN (FORMAT binary)") as writing:
            writing.write(stream)
        if staged:
            cursor.execute(
                f"INSERT INTO {target.table} ({names}) SELECT {names} FROM bench_staging ON CONFLICT DO NOTHING"
            )
    connection.commit()


def main(bootstrap_servers: str, topic: str, target_name: str, way: str, *partitions: str) -> None:
    """See the module."""
    target, staged = TARGETS[target_name], way == "staged"
    streams = [encode(target, values) for values in batches(bootstrap_servers, topic, [int(p) for p in partitions])]
    with psycopg.connect(os.environ["BENCH_STORE_URL"]) as connection:
        if staged:
            names = ", ".join(target.arrow.names)
            connection.execute(
                f"CREATE TEMP TABLE bench_staging ON COMMIT DELETE ROWS AS SELECT {names} FROM {target.table} LIMIT 0"
            )
            connection.commit()
        print("ready", flush=True)
        sys.stdin.readline()
        for stream in streams:
            copy(connection, target, staged, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
