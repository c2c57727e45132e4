"""A redrive is a run of its own where the pipeline has a column of the run: the daemon's may be compacted already."""

from collections.abc import Iterator
from contextlib import contextmanager

from ingestd import run_id
from ingestd.config import options as cfg
from ingestd.stores.open import open_runs
from ingestd.stores.runs import ENDED, begin_run
from ingestd.stores.store import Store


@contextmanager
def own_run(options: cfg.Store, pipeline: cfg.Pipeline, store: Store) -> Iterator[None]:
    """Begun before the decoder is made, ended whatever happens. Raises: what `Store` raises."""
    if not any(column.source == "run" for column in pipeline.column):
        yield
        return
    run, runs = run_id.begin(), open_runs(options)
    store.prepare()
    with store.deciding():
        begin_run(runs, store.open(), run, [pipeline.name])
    try:
        yield
    finally:
        with store.deciding():
            runs.end(store.open(), run.run_id, ENDED)
