"""Duty: keys of the gate and remembered deletes are forgotten when their time is over. Knows no election."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ingestd.config import options as cfg
from ingestd.config.topics import for_topic, has_many_topics, memory_name
from ingestd.logs import get_logger
from ingestd.stores.open import is_sqlite
from ingestd.stores.store import Store
from ingestd.stores.topics import topics_on

_PERIOD_SECS = 60.0
_FORGET_AT_ONCE = 100_000

log = get_logger()

Forget = Callable[[Any], int]
"""On a connection, in steps that commit: how many keys were forgotten."""


class Retention:
    """Forgets once a minute."""

    def __init__(self, name: str, store: Store, forget: Forget):
        """`name` is for the log, such as "forget keys"."""
        self.name = name
        self._store = store
        self._forget = forget

    def turn(self) -> float:
        """Forget what is due, in steps that commit."""
        with self._store.deciding():
            forgotten = self._forget(self._store.open())
        if forgotten:
            log.debug("forgotten", duty=self.name, keys=forgotten)
        return _PERIOD_SECS

    def close(self) -> None:
        """Nothing is open between turns but the store, which is the keeper's."""


def retentions_of(options: cfg.Store, pipeline: cfg.Pipeline, store: Store) -> list[Retention]:
    """The retentions that `pipeline` asks for, in the SQL of its store."""
    found = []
    if pipeline.dedupe is not None and pipeline.dedupe.retention is not None:
        secs = float(pipeline.dedupe.retention)
        forget = partial(_forget_keys(options), pipeline=pipeline, older_than_secs=secs, limit=_FORGET_AT_ONCE)
        found.append(Retention("forget keys of the gate", store, forget))
    delete = pipeline.table.delete
    if delete is not None and delete.retention is not None:
        secs = float(delete.retention)
        forget = partial(_forget_by_topic, options, pipeline, _forget_deleted(options), older_than_secs=secs)
        found.append(Retention("forget deleted keys", store, forget))
    return found


def _forget_by_topic(
    options: cfg.Store, pipeline: cfg.Pipeline, forget: Callable[..., int], connection: Any, older_than_secs: float
) -> int:
    """Deleted keys of all the pipeline's tables: each topic's has a memory of its own."""
    topics = list(topics_on(options, connection, pipeline.name)) if has_many_topics(pipeline) else [pipeline.topic]
    memories = [memory_name(for_topic(pipeline, topic)) for topic in topics]
    return sum(forget(connection, pipeline=memory, older_than_secs=older_than_secs) for memory in memories)


def _forget_keys(options: cfg.Store) -> Callable[..., int]:
    if is_sqlite(options):
        from ingestd.sinks.sqlite.gate import forget_keys as forget_in_sqlite

        return forget_in_sqlite
    from ingestd.sinks.postgres.gate import forget_keys

    return forget_keys


def _forget_deleted(options: cfg.Store) -> Callable[..., int]:
    if is_sqlite(options):
        from ingestd.sinks.sqlite.forget import forget_deleted as forget_in_sqlite

        return forget_in_sqlite
    from ingestd.sinks.postgres.versions import forget_deleted

    return forget_deleted
