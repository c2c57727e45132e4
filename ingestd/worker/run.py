"""The run that this worker is part of, in its store. Knows no lease."""

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
