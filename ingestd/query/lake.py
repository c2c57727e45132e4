"""A question to a lake for the command line: rows for the printers, or Arrow's own stream. Knows no output format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, TYPE_CHECKING

from msgspec import Struct

from ingestd.config import options as cfg
from ingestd.lake.engine import require_duckdb
from ingestd.query.read import Answer, Row

if TYPE_CHECKING:
    import pyarrow as pa

    from ingestd.lake.reading.session import Answer as LakeAnswer

MEMORY_MIB = 1024
"""What a query may take by default, before it goes on with temporary files."""


class Question(Struct, frozen=True):
    """One query to the lake of one pipeline."""

    store: cfg.Store
    pipeline: cfg.Pipeline
    query: str | None
    """None: all rows."""
    limit: int | None
    memory_mib: int = MEMORY_MIB


@contextmanager
def ask_lake(question: Question) -> Iterator[Answer]:
    """The answer to one query; times come as text in UTC, exact numbers as text.

    Raises: StartupError when lake or store cannot be read, or the query is wrong, would write or takes too much.
    """
    with _asking(question) as answer:
        yield Answer([name for name, _ in answer.columns], _rows(answer.batches(texts=True)))


def write_arrow(question: Question, out: IO[bytes]) -> None:
    """The answer as Arrow's IPC stream, in the types of the lake. Raises: as `ask_lake`."""
    import pyarrow as pa

    with _asking(question) as answer:
        batches = answer.batches(texts=False)
        with pa.ipc.new_stream(out, batches.schema) as stream:
            for batch in batches:
                stream.write_batch(batch)


def _asking(question: Question) -> AbstractContextManager[LakeAnswer]:
    require_duckdb()
    from ingestd.lake.reading.ask import asking
    from ingestd.lake.reading.session import VIEW, Limits

    query = question.query or f"FROM {VIEW}"
    return asking(
        question.store,
        question.pipeline,
        lambda session: session.ask(query, limit=question.limit),
        Limits(memory_bytes=question.memory_mib << 20),
    )


def _rows(batches: pa.RecordBatchReader) -> Iterator[Row]:
    for batch in batches:
        columns = [column.to_pylist() for column in batch.columns]
        yield from zip(*columns, strict=True)
