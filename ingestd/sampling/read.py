"""A few records of each partition, read without a group and without a commit. Knows no decoding and no database."""

import time

from msgspec import Struct

from ingestd.batch import Chunk, Record, Tile
from ingestd.errors import Retryable, StartupError
from ingestd.source.kafka import KafkaSource

_SILENT_SECS = 20.0
_POLL_SECS = 0.2


class Sample(Struct):
    """Records of one partition from `start` on; `end` is where reading stopped."""

    partition: int
    start: int
    end: int
    log_start: int
    log_end: int
    records: list[Record]


def read_samples(source: KafkaSource, topic: str, starts: dict[int, int | None], count: int) -> list[Sample]:
    """At most `count` records of each partition, by partition; a start of None is the log's.

    A partition with fewer records behind its start is read from further back, so that there is something to see.
    Raises: StartupError when the broker or the topic does not answer.
    """
    try:
        return [_read(source, topic, partition, start, count) for partition, start in sorted(starts.items())]
    except Retryable as error:
        raise StartupError(str(error)) from error


def _read(source: KafkaSource, topic: str, partition: int, start: int | None, count: int) -> Sample:
    low, high = source.watermarks(partition)
    wanted = low if start is None else min(max(start, low), high)
    begin = max(low, min(wanted, high - count))
    sample = Sample(partition, begin, begin, low, high, [])
    if begin >= high:
        return sample
    source.seek({partition: begin})
    deadline = time.monotonic() + _SILENT_SECS
    while sample.end < high and len(sample.records) < count:
        if time.monotonic() > deadline:
            raise StartupError(f"{topic}-{partition}: Kafka gave nothing for {_SILENT_SECS:.0f} s at {sample.end}")
        chunk, _ = source.next_chunk(_POLL_SECS)
        if chunk is None:
            continue
        room = count - len(sample.records)
        sample.records += chunk.records[:room]
        cut = len(chunk.records) > room
        sample.end = sample.records[-1].offset() + 1 if cut else max(tile.end for tile in chunk.tiles)
    return sample


def as_chunk(samples: list[Sample]) -> Chunk:
    """All samples as one chunk."""
    tiles = [Tile(one.partition, one.start, one.end) for one in samples if one.end > one.start]
    return Chunk(tiles, [record for one in samples for record in one.records])
