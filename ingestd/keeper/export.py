"""Duty: dead letters into Parquet files. Knows no election and no other duty.

A file is complete when it has its name. A crash between the file and the mark in the table leaves letters that wait
and are in a file already: they are found there and marked, not written again.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.stores.dead_letters import Letter, Outbox

_LETTERS_AT_ONCE = 20_000
_BYTES_AT_ONCE = 64 * 1024 * 1024
_PERIOD_SECS = 60.0
"""A file at most so often: whatever was refused since the last one is in it."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("pipeline", pa.string(), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("topic_id", pa.string(), nullable=False),
        pa.field("partition", pa.int32(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("record_key", pa.binary()),
        pa.field("payload", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())]))),
        pa.field("record_time", pa.timestamp("ms", "UTC")),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("column_name", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("sqlstate", pa.string()),
        pa.field("dead_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)


class Export:
    """Writes the letters of one pipeline, a file for each batch, named by the ids in it."""

    name = "export dead letters"

    def __init__(self, pipeline: cfg.Pipeline, outbox: Outbox, period_secs: float = _PERIOD_SECS):
        assert pipeline.dead_letters.parquet is not None
        self._directory = Path(pipeline.dead_letters.parquet)
        self._pipeline = pipeline.name
        self._outbox = outbox
        self._period_secs = period_secs
        self._names = re.compile(re.escape(pipeline.name) + r"-(\d{12,})-(\d{12,})\.parquet")

    def turn(self) -> float:
        """Write what waits into one file."""
        letters = self._outbox.waiting("exported", _LETTERS_AT_ONCE, _BYTES_AT_ONCE)
        if not letters:
            return self._period_secs
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            written = self._written([letter.id for letter in letters])
            new = [letter for letter in letters if letter.id not in written]
            if new:
                self._write(new)
        except (OSError, pa.ArrowException) as error:
            said = f"dead letters of {self._pipeline} into {self._directory}: {error}"
            raise Retryable(f"{said}; they wait in the table") from error
        self._outbox.mark("exported", [letter.id for letter in letters])
        return self._period_secs if len(letters) < _LETTERS_AT_ONCE else 0.0

    def _written(self, ids: Sequence[int]) -> set[int]:
        """Those of `ids` that a file holds: marks that a crash has lost."""
        found: set[int] = set()
        for path in self._overlapping(min(ids), max(ids)):
            found.update(pq.read_table(path, columns=["id"], partitioning=None).column("id").to_pylist())
        return found.intersection(ids)

    def _overlapping(self, first: int, last: int) -> Iterator[Path]:
        for path in sorted(self._directory.iterdir()):
            match = self._names.fullmatch(path.name)
            if match and int(match[1]) <= last and int(match[2]) >= first:
                yield path

    def _write(self, letters: Sequence[Letter]) -> None:
        path = self._directory / f"{self._pipeline}-{letters[0].id:012d}-{letters[-1].id:012d}.parquet"
        unfinished = path.with_name(f".{path.name}.unfinished")
        with open(unfinished, "wb") as file:
            pq.write_table(_table(self._pipeline, letters), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Nothing is open between turns."""


def _table(pipeline: str, letters: Sequence[Letter]) -> pa.Table:
    rows = [
        {
            "id": letter.id,
            "pipeline": pipeline,
            "topic": letter.topic,
            "topic_id": letter.topic_id,
            "partition": letter.partition,
            "offset": letter.offset,
            "record_key": letter.key,
            "payload": letter.payload,
            "headers": [{"name": n, "value": v} for n, v in letter.headers] if letter.headers is not None else None,
            "record_time": letter.record_time_ms,
            "stage": letter.stage,
            "column_name": letter.column,
            "reason": letter.reason,
            "sqlstate": letter.sqlstate,
            "dead_at": letter.dead_at,
        }
        for letter in letters
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)
