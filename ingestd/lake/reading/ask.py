"""One question to the lake of a pipeline, as of one moment, whatever compaction and retention do meanwhile.

Knows no output format and no HTTP.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import duckdb
import pyarrow as pa

from ingestd.config import options as cfg
from ingestd.config.checks.lake import PARTITION
from ingestd.errors import StartupError
from ingestd.lake.open import open_place
from ingestd.lake.reading.readable import NUMBERS, Vanished, readable
from ingestd.lake.reading.session import Limits, Refused, Session
from ingestd.lake.writing.schema import FileSchema
from ingestd.stores.manifest import LakeFile
from ingestd.stores.reading import live_files

_TRIES = 7
_PAUSE_SECS = 0.05
"""Doubled with each try: settling a file, or exchanging a directory, takes milliseconds."""

Result = TypeVar("Result")


@contextmanager
def asking(
    store: cfg.Store, pipeline: cfg.Pipeline, ask: Callable[[Session], Result], limits: Limits
) -> Iterator[Result]:
    """What `ask` makes of a locked session that shows the files of one moment; valid until the block ends.

    When a file vanishes under the question it is asked again, of the files as they are then.
    Raises: StartupError, Refused among them; what the store and the place raise.
    """
    missing = ""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECS * 2 ** (attempt - 1))
        files = live_files(store, pipeline)
        with Session(limits) as session:
            try:
                answer = _ask(session, pipeline, files, ask)
            except Vanished as gone:
                missing = str(gone)
                continue
            yield answer
            return
    raise StartupError(f"lake {pipeline.name}: {missing} of the manifest is missing; `ingestd verify` tells which")


def _ask(session: Session, pipeline: cfg.Pipeline, files: list[LakeFile], ask: Callable[[Session], Result]) -> Result:
    assert pipeline.lake is not None
    source = readable(open_place(pipeline.lake), files)
    try:
        session.show(source, _columns(pipeline) if not files else pa.schema([]))
        session.also_as(pipeline.name)
        session.lock()
        return ask(session)
    except (Refused, OSError, duckdb.Error, pa.ArrowException) as error:
        if not source.all_there():
            raise Vanished(f"one of {len(files)} files") from error
        if isinstance(error, Refused):
            raise
        said = " ".join(str(error).split("\n\n")[0].split())
        raise StartupError(f"lake {pipeline.name}: cannot be read: {said}") from error


def _columns(pipeline: cfg.Pipeline) -> pa.Schema:
    """The columns of a lake without files, as the first file will have them."""
    assert pipeline.lake is not None
    schema = FileSchema.of(pipeline).arrow
    if not schema.names:
        raise StartupError(f"lake {pipeline.name}: has no file yet; its columns are those of the first events")
    for written in pipeline.lake.partition_by:
        made = PARTITION.fullmatch(written)
        name = made["part"] if made else written
        if name not in schema.names:
            kind = pa.int32() if name in NUMBERS else pa.date32() if name == "date" else pa.string()
            schema = schema.append(pa.field(name, kind))
    return schema
