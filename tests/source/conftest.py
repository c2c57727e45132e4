"""The fixtures of these tests: a source on the real broker, and what it reads."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient

from ingestd.batch import Record, Tile
from ingestd.config import options as cfg
from ingestd.embedded.kafka import KafkaServer
from ingestd.source.kafka import KafkaSource
from tests.sinks.contracts import pipeline_of

MakeSource = Callable[..., KafkaSource]


@pytest.fixture
def source(kafka: KafkaServer) -> Iterator[MakeSource]:
    """`source(topic, prefetch_bytes=.., group="g")`; closed after the test."""
    made: list[KafkaSource] = []

    def make(topic: str, prefetch_bytes: int = 16 * 1024 * 1024, group: str = "sources") -> KafkaSource:
        options = cfg.Kafka(bootstrap_servers=kafka.bootstrap_servers, group_id=group)
        made.append(KafkaSource(options, pipeline_of({"id": "text"}, topic=topic), prefetch_bytes))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def admin(kafka: KafkaServer) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka.bootstrap_servers})


def read_until(source: KafkaSource, ends: dict[int, int], secs: float = 15) -> tuple[list[Record], list[Tile]]:
    """Records and tiles up to these positions."""
    records: list[Record] = []
    tiles: list[Tile] = []
    left = dict(ends)
    deadline = time.monotonic() + secs
    while left:
        assert time.monotonic() < deadline, f"not read to the end: {left}, tiles {tiles[-5:]}"
        chunk, _ = source.next_chunk(0.2)
        if chunk is None:
            continue
        records += chunk.records
        tiles += chunk.tiles
        for tile in chunk.tiles:
            if tile.end >= left.get(tile.partition, tile.end + 1):
                del left[tile.partition]
    return records, tiles
