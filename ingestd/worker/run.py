"""The run that this worker is part of, in its store. Knows no lease."""

from typing import Any

from ingestd import run_id
from ingestd.config import options as cfg
from ingestd.logs import get_logger
from ingestd.stores.open import open_runs
from ingestd.stores.runs import begin_run
from ingestd.stores.store import Store

log = get_logger()


def note_run(config: cfg.Config, store: Store) -> None:
    """The run is in the store before anything of it is; those of this host that crashed are marked. Idempotent.

    Raises: what `Store` raises.
    """
    run = run_id.current()
    if run is None:
        return
    with store.deciding():
        names = [pipeline.name for pipeline in config.pipeline]
        for crashed in begin_run(open_runs(config.store), store.open(), run, names):
            log.warning("a run of this host had not ended", run_id=crashed, status="crashed")


def hold_run(options: cfg.Store, pipeline: cfg.Pipeline, cursor: Any) -> None:
    """In the transaction that adds files to a lake with a column of the run: it must not be over, or be compacted.

    Raises: Halt when somebody has marked the run ended.
    """
    run = run_id.current()
    if run is not None and any(column.source == "run" for column in pipeline.column):
        open_runs(options).hold(cursor, run.run_id)
