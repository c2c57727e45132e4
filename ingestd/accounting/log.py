"""What Kafka still has of a span of offsets: its records counted, its holes told from losses. Writes nowhere."""

import time
from collections.abc import Iterator

from ingestd.accounting.account import LogSpan, ReadLog
from ingestd.accounting.ranges import Span
from ingestd.batch import Chunk
from ingestd.errors import StartupError
from ingestd.source.kafka import KafkaSource

_SILENT_SECS = 30.0
_POLL_SECS = 0.5


def log_reader(source: KafkaSource, topic: str) -> ReadLog:
    """A function that reads a span of the log, committed records only; takes as long as reading the topic takes."""

    def read(partition: int, span: Span) -> LogSpan:
        low, high = source.watermarks(partition)
        start, end = max(span[0], low), min(span[1], high)
        if start >= end:
            return LogSpan(max(low, span[0]), span[1], [])
        holes = list(_holes(source, topic, partition, start, end))
        return LogSpan(start, end, holes)

    return read


def _holes(source: KafkaSource, topic: str, partition: int, start: int, end: int) -> Iterator[Span]:
    """Spans of [start, end) without a record, in order."""
    source.seek({partition: start})
    after = start
    for chunk in _chunks(source, topic, partition, end):
        for record in chunk.records:
            offset = record.offset()
            if offset >= end:
                break
            if offset > after:
                yield after, offset
            after = offset + 1
    if after < end:
        yield after, end


def _chunks(source: KafkaSource, topic: str, partition: int, end: int) -> Iterator[Chunk]:
    """Chunks until the consumer's position has reached `end`."""
    deadline = time.monotonic() + _SILENT_SECS
    while time.monotonic() < deadline:
        chunk, _ = source.next_chunk(_POLL_SECS)
        if chunk is None:
            continue
        yield chunk
        if any(tile.end >= end for tile in chunk.tiles):
            return
        deadline = time.monotonic() + _SILENT_SECS
    raise StartupError(
        f"{topic}-{partition}: Kafka gave nothing for {_SILENT_SECS:.0f} s before offset {end}; try again"
    )
