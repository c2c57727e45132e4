"""A worker without Kafka: claims, reads a log in memory, commits by the real writer. Knows no reference."""

from collections.abc import Sequence
from typing import Any

from ingestd.batch import Chunk, Rows, Tile
from ingestd.decode.decoder import make_decoder
from ingestd.errors import Halt, LeaseLost, Retryable
from ingestd.redrive.mend import Mending
from ingestd.redrive.redrive import Redrive, Result
from ingestd.sinks.open import open_sink
from ingestd.stores.open import open_letters, open_store
from ingestd.stores.store import LedgerKey
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Writer
from tests.property.histories.faults import Died, Faults, Line
from tests.property.histories.places import Place
from tests.sinks.contracts import MemoryRecord, Seen

Log = dict[int, list[MemoryRecord | None]]
"""By partition; None is a hole."""


class Worker:
    """What a worker process does with its partitions; each step is one claim or one batch."""

    def __init__(self, place: Place, pipeline: Any, log: Log, partitions: Sequence[int]):
        key = LedgerKey(pipeline.name, pipeline.topic)
        self._log = log
        self._partitions = sorted(partitions)
        self.faults: Faults = place.faults()
        self._store: Any = open_store(place.options, key)
        self._decode = make_decoder(pipeline)
        self.seen = Seen()
        self._sink = open_sink(place.options, pipeline)
        self.writer = Writer(
            self._store,
            self._sink,
            key,
            lambda p: DeadLetterLimit(pipeline.dead_letters, pipeline.name, f"{p}"),
            self.seen,
        )
        self.gone = False
        self.ended_by = ""
        self.positions: dict[int, int] | None = None
        """None: claim first."""

    def step(self, cuts: Sequence[int]) -> None:
        """Claim, or commit one batch of chunks of so many offsets of each partition."""
        try:
            if self.positions is None:
                self._claim()
            else:
                self._commit(cuts)
        except Retryable:
            self._drop()
        except (LeaseLost, Died) as end:
            self._leave(type(end).__name__)
        except Halt:
            if not self.faults.odd_fired:
                raise
            self._leave("Halt")

    @property
    def behind(self) -> bool:
        """Whether there is more to read, or nothing is claimed yet."""
        return self.positions is None or any(self.positions[p] < len(self._log[p]) for p in self._partitions)

    def _claim(self) -> None:
        wire(self._store, self.faults)
        held = dict(self.writer.epochs)
        claimed = self._store.claim(self._partitions, lambda new, _: {p: (0, "id") for p in new}, held)
        self.writer.epochs = {one.partition: one.epoch for one in claimed}
        self.writer.topic_ids = {one.partition: one.topic_id for one in claimed}
        with self._store.deciding():
            self._sink.attach(self._store.open())
        self.positions = {one.partition: one.next_offset for one in claimed}

    def _commit(self, cuts: Sequence[int]) -> None:
        assert self.positions is not None
        position, parts = dict(self.positions), []
        for cut in cuts:
            if (part := self._chunk(position, cut)) is not None:
                parts.append(part)
        if parts:
            self.writer.commit(self.writer.prepare(parts))
            self.positions = position

    def _chunk(self, position: dict[int, int], cut: int) -> Rows | None:
        tiles, records = [], []
        for p in self._partitions:
            end = min(position[p] + cut, len(self._log[p]))
            if end > position[p]:
                tiles.append(Tile(p, position[p], end))
                records += [record for record in self._log[p][position[p] : end] if record is not None]
                position[p] = end
        return self._decode(Chunk(tiles, records)) if tiles else None

    def _drop(self) -> None:
        self._store.close()
        self.positions = None

    def _leave(self, why: str) -> None:
        self._drop()
        self.gone, self.ended_by = True, why

    def stop(self) -> None:
        """The end of the process."""
        self._leave("stopped")


def wire(store: Any, faults: Faults) -> None:
    """Put the faults between the store and its connection."""
    connection = store.open()
    if not isinstance(connection, Line):
        store._connection = Line(connection, faults)


def redrive(place: Place, pipeline: Any, ids: Sequence[int], fixes: Sequence[str], faults: Faults) -> Result | None:
    """As `ingestd dead-letters redrive` does it; None when it did not come to its end."""
    key = LedgerKey(pipeline.name, pipeline.topic)
    store: Any = open_store(place.options, key)
    wire(store, faults)
    box = open_letters(place.options, store, key)
    try:
        again = Redrive(store, open_sink(place.options, pipeline), box, key, make_decoder(pipeline))
        return again.run(ids, Mending(fixes, None, None))
    except Died:
        return None
    finally:
        store.close()
