"""Which values of a lake's first partition get no more files. Knows no files."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ingestd.config import options as cfg
from ingestd.lake.merging.into import IsFinished
from ingestd.stores.manifest import LakeFile
from ingestd.stores.open import open_runs
from ingestd.stores.store import Store


def finished_values(options: cfg.Store, pipeline: cfg.Pipeline, store: Store) -> IsFinished:
    """As of now. Of a partition by run: runs that are over. Of another: values that had no file for two rolls.

    What comes later all the same is noticed, and the value's file made again.
    """
    assert pipeline.lake is not None
    if _by_run(pipeline):
        runs = open_runs(options)
        with store.deciding():
            connection: Any = store.open()
            runs.prepare(connection)
            over = {run.run_id for run in runs.list(connection) if run.finished}
        return lambda value, _files: value in over
    limit = datetime.now(UTC) - timedelta(seconds=2 * pipeline.lake.roll.max_age)
    return lambda _value, files: all(_is_older(file, limit) for file in files)


def _by_run(pipeline: cfg.Pipeline) -> bool:
    assert pipeline.lake is not None
    first = pipeline.lake.partition_by[:1]
    return any((column.name,) == first and column.source == "run" for column in pipeline.column)


def _is_older(file: LakeFile, limit: datetime) -> bool:
    return file.committed_at is not None and file.committed_at < limit
