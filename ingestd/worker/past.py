"""What became of records that the table group has committed before: the lake takes the same decision. No files here."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ingestd.batch import Outcome, Rows
from ingestd.config import options as cfg
from ingestd.rows import only
from ingestd.sinks.open import open_gate
from ingestd.stores.open import dead_places
from ingestd.stores.store import LedgerKey, Store

KEPT, DEAD, LOST = 0, 1, 2
"""Into the lake; a dead letter; a duplicate at the gate."""

Fates = NDArray[np.int8]
"""KEPT, DEAD or LOST for each record of a batch."""


class Past:
    """The decisions of one pipeline's table group, asked of its dead letters and its gate."""

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline):
        self._key = LedgerKey(pipeline.name, pipeline.topic)
        self._dead_places = dead_places(options)
        self._gate = open_gate(options, pipeline) if pipeline.dedupe is not None else None

    def fates(self, rows: Rows, store: Store, topic_ids: Mapping[int, str]) -> tuple[Fates, list[tuple[int, int]]]:
        """What became of the records of `rows`; and the places of its dead letters that were none then.

        `topic_ids` by partition tell a re-created topic's offsets apart. Raises: what `store` raises.
        """
        if self._gate is not None:
            with store.deciding():
                self._gate.attach(store.open())
        with store.side_transaction() as tx:
            dead = self._dead_places(tx.cursor, self._key, rows.tiles, topic_ids)
            fates = np.zeros(len(rows.records), np.int8)
            if dead:
                fates[[(record.partition(), record.offset()) in dead for record in rows.records]] = DEAD
            if self._gate is not None:
                alive = fates == KEPT
                lost = self._gate.lost(only(rows, alive), tx)
                fates[np.flatnonzero(alive)[lost]] = LOST
        return fates, [place for letter in rows.dead if (place := (letter.partition, letter.offset)) not in dead]


def fates_of(rows: Rows, outcome: Outcome) -> Fates | None:
    """Of each record of a batch that the table group committed; None: all are KEPT."""
    if outcome.admitted is None and not outcome.dead:
        return None
    fates = np.zeros(len(rows.records), np.int8)
    if outcome.admitted is not None:
        fates[~outcome.admitted.to_numpy(zero_copy_only=False)] = LOST
    if outcome.dead:
        dead = {(letter.partition, letter.offset) for letter in outcome.dead}
        fates[[(record.partition(), record.offset()) in dead for record in rows.records]] = DEAD
    return fates
