"""A source's TRUNCATE in a partition of change events: nobody applies it yet, so the partition halts before it."""

from __future__ import annotations

from ingestd.batch import Chunk, Decode, Rows
from ingestd.config import options as cfg
from ingestd.errors import Halt


def halting_at_truncates(pipeline: cfg.Pipeline, decode: Decode) -> Decode:
    """`decode`, raising Halt for a chunk that holds a truncate; nothing of it is committed."""
    if pipeline.cdc is None:
        return decode

    def decode_or_halt(chunk: Chunk) -> Rows:
        rows = decode(chunk)
        if rows.truncates:
            partition, offset = rows.truncates[0]
            place = f"{pipeline.topic}-{partition} offset {offset}"
            mend = f"empty {pipeline.table.name} yourself, and go on behind it with `ingestd offsets reset`"
            raise Halt(
                f"{place}: the source's table was truncated, which is not applied to the copy: {mend}", [partition]
            )
        return rows

    return decode_or_halt
