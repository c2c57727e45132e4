"""A source's TRUNCATE among change events: applied in its order, or, where a topic has no such order, a halt."""

from __future__ import annotations

from ingestd.batch import Chunk, Decode, Rows
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.rows import cut


class TruncateOrder:
    """Lets truncates through where they have an order: in a topic of one partition."""

    def __init__(self, pipeline: cfg.Pipeline):
        self._pipeline = pipeline
        self.topic_partitions = 0
        """Set at the claim, before anything is read."""

    def watching(self, decode: Decode) -> Decode:
        """`decode`, raising Halt for a truncate without a place among all changes; nothing is committed."""
        if self._pipeline.cdc is None:
            return decode

        def decode_or_halt(chunk: Chunk) -> Rows:
            rows = decode(chunk)
            if rows.truncates and self.topic_partitions != 1:
                self._halt(*rows.truncates[0])
            return rows

        return decode_or_halt

    def _halt(self, partition: int, offset: int) -> None:
        topic, table = self._pipeline.topic, self._pipeline.table.name
        why = f"the source's table was truncated, and {self.topic_partitions} partitions have no common order"
        mend = (
            f"empty {table} yourself, and go on behind it with `ingestd offsets reset`; or give the topic one partition"
        )
        raise Halt(f"{topic}-{partition} offset {offset}: {why}: {mend}", [partition])


def at_truncate(rows: Rows, place: tuple[int, int], more: int) -> tuple[Rows, Rows]:
    """`rows` cut at a truncate's offset, or `more` behind it; a topic with a truncate has one partition."""
    partition, offset = place
    return cut(rows, {partition: offset + more})
