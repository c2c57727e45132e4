"""Redriven letters into the lake, in the transaction that takes them out of the box. Knows no command line.

The lake decides about what it has not read yet by asking for dead letters: a letter at or above its cursor must stay
until the cursor has passed it, or its record would come twice, or never.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ingestd.batch import Counts, Outcome, Rows
from ingestd.config import options as cfg
from ingestd.lake.catalogued import open_catalogued
from ingestd.lake.identity import check_identity
from ingestd.lake.open import open_place
from ingestd.lake.settle import settle
from ingestd.lake.writing.writer import LakeWriter
from ingestd.rows import only
from ingestd.stores.cursors import CursorRow
from ingestd.stores.dead_letters import DeadLetterBox, Left, Wanted
from ingestd.stores.manifest import LAKE_GROUP
from ingestd.stores.open import open_letters, read_cursors
from ingestd.stores.store import LedgerKey, Store
from ingestd.worker.past import KEPT, fates_of


def letters_before_the_lake(
    options: cfg.Store, pipeline: cfg.Pipeline, box: DeadLetterBox, ids: Sequence[int]
) -> set[int]:
    """Those of the letters that the lake has still to read; none where there is no lake."""
    if pipeline.lake is None or not ids:
        return set()
    key = LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP)
    cursors = {row.partition: row for row in read_cursors(options, key)}
    chosen, early = tuple(ids), set(ids)
    for partition, row in cursors.items():
        early -= set(box.find(Wanted(ids=chosen, partitions=(partition,), offset_end=row.next_offset)))
    return early - _of_former_topics(box, sorted(early), cursors)


def _of_former_topics(box: DeadLetterBox, ids: Sequence[int], cursors: Mapping[int, CursorRow]) -> set[int]:
    """Letters of a topic that was deleted and created again since: the lake will never read them."""
    found: set[int] = set()
    for number in ids:
        for letter in box.read([number]):
            row = cursors.get(letter.partition)
            if row is not None and row.topic_id and letter.topic_id != row.topic_id:
                found.add(letter.id)
    return found


class RedrivenRows:
    """A `worker.writer.Follower` that writes small files of its own; the keeper merges them with the others."""

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline, store: Store):
        """`store` is the redrive's; it must commit synchronously: the files take their places when it has."""
        assert pipeline.lake is not None
        self._topic = pipeline.topic
        self._store = store
        self._place = open_place(pipeline.lake)
        self._manifest = open_catalogued(options, pipeline)
        self._ledger = open_letters(options, store, LedgerKey(pipeline.name, pipeline.topic, LAKE_GROUP))
        self._writer = LakeWriter(pipeline, self._place, pipeline.topic, made_by="redrive")
        with store.deciding():
            self._manifest.prepare(store.open())
            check_identity(self._place, self._manifest, store.open())

    def written(self, rows: Rows, outcome: Outcome, tx: Any) -> None:
        """Files of the rows that went through, named in the manifest and counted with the lake's cursor."""
        self._writer.discard()
        fates = fates_of(rows, outcome)
        kept = rows if fates is None else only(rows, fates == KEPT)
        if not kept.records:
            return
        for tile in kept.tiles:
            self._writer.begin(tile.partition, tile.start, 0)
        self._writer.add(kept)
        left: dict[int, Left] = {}
        for tile in kept.tiles:
            files = self._writer.seal(tile.partition).files
            self._manifest.add(tx.cursor, files)
            if count := sum(file.rows for file in files):
                left[tile.partition] = Left(redriven=count, fates=Counts(inserted=count))
        self._ledger.remove([], left, tx)

    def committed(self, rows: Rows, outcome: Outcome) -> None:
        """The files take their places; if this process dies before, the worker's next claim sees to it."""
        with self._store.deciding():
            connection = self._store.open()
            partitions = [tile.partition for tile in rows.tiles]
            files = self._manifest.unsettled(connection, self._topic, partitions)
            settle(self._place, self._manifest, connection, files)
