"""The columns of copies whose pipelines declare none, as the ledger remembers them: for whoever only looks."""

from collections.abc import Sequence

from ingestd.config import options as cfg
from ingestd.stores.open import open_reading, open_source_tables
from ingestd.stores.source_tables import copied


def waits_for_columns(pipeline: cfg.Pipeline) -> bool:
    """Whether the columns come from the events, and none is known here."""
    return pipeline.cdc is not None and pipeline.cdc.columns == "from_events" and not pipeline.column


def with_known_columns(options: cfg.Store, pipelines: Sequence[cfg.Pipeline]) -> list[cfg.Pipeline]:
    """Pipelines of one topic each, with the columns and the key that were found in their events so far.

    Asks the store only when a pipeline needs it. Raises: StartupError when the store cannot be read.
    """
    if not any(map(waits_for_columns, pipelines)):
        return list(pipelines)
    with open_reading(options) as connection:
        return [
            one
            if not waits_for_columns(one) or (known := open_source_tables(options, one).read(connection)) is None
            else copied(one, known)
            for one in pipelines
        ]
