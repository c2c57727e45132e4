"""The writer: one batch, one transaction, by the ladder's way; then the counters. Knows no Kafka client."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import structs

from ingestd.batch import Counts, Outcome, Rows, dead_letter
from ingestd.errors import Halt
from ingestd.rows import join, split, without
from ingestd.sinks.ladder import Ladder, Way
from ingestd.stores.faults import RecordsRefused, RowFault, RowsRefused, UnknownFault
from ingestd.stores.store import LedgerKey, Store, Transaction
from ingestd.worker.counting import counts_by_partition
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.truncates import at_truncate

_UNKNOWN_FAULTS_BEFORE_SPLIT = 3
_NO_FAULT = RowFault("", "", False)


class Prepared(Protocol):
    """A batch as a sink wants it."""

    @property
    def rows(self) -> Rows: ...
    @property
    def encode_ns(self) -> int: ...


class Sink(Protocol):
    """Where rows go; see `ingestd.sinks.postgres.table.TableSink`."""

    def attach(self, connection: Any) -> None:
        """Make or check the tables, and what this session needs. Commits."""
        ...

    def ways(self) -> tuple[Way, ...]:
        """The ways in, fastest first; known after `attach`."""
        ...

    def prepare(self, rows: Rows) -> Any:
        """A `Prepared` of `rows`: all work that needs no database. Called before `attach` too, and from two threads."""
        ...

    def write(self, batch: Any, tx: Transaction, way: Way) -> Outcome:
        """What became of the rows; nothing is visible unless `tx` commits. May raise RecordsRefused."""
        ...


class Committed(Protocol):
    """Told of every committed batch; see `ingestd.worker.lanes.WorkerBoard`."""

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None: ...


class Follower(Protocol):
    """Told of the rows of every transaction; see `ingestd.worker.lake.LakeGroup`."""

    def written(self, rows: Rows, outcome: Outcome, tx: Transaction) -> None:
        """Inside the transaction, which commits when this returns."""
        ...

    def committed(self, rows: Rows, outcome: Outcome) -> None:
        """After it; what is raised here does not undo it."""
        ...


class Writer:
    """Commits batches under a lease. One per worker: the ladder and the limits remember across leases."""

    def __init__(
        self,
        store: Store,
        sink: Sink,
        key: LedgerKey,
        limit: Callable[[int], DeadLetterLimit],
        board: Committed,
        follower: Follower | None = None,
        truncate: Callable[[Transaction], None] = lambda tx: None,
    ):
        self._store = store
        self._sink = sink
        self._key = key
        self._new_limit = limit
        self._limits: dict[int, DeadLetterLimit] = {}
        self._board = board
        self._follower = follower
        self._truncate = truncate
        self._ladder: Ladder | None = None
        self._ways: tuple[Way, ...] = ()
        self._unknown: Counter[tuple[int, int]] = Counter()
        self._isolating = False
        self.epochs: dict[int, int] = {}
        self.topic_ids: dict[int, str] = {}

    def prepare(self, parts: Sequence[Rows]) -> Prepared:
        """Consecutive chunks as one batch for `commit`. Touches no database; another thread may call it meanwhile."""
        prepared: Prepared = self._sink.prepare(join(parts))
        return prepared

    def commit(self, batch: Prepared) -> None:
        """Rows, dead letters and cursors of `batch.rows.tiles` in one transaction, or in several smaller ones.

        Raises: Retryable (claim again, redo), LeaseLost, Halt.
        """
        self._attach()
        rows = batch.rows
        assert self._ladder is not None
        if rows.truncates:
            self._around_truncate(rows)
            return
        way: Way | None = self._ladder.first()
        fault = _NO_FAULT
        while way is not None:
            try:
                self._attempt(batch, way)
                self._ladder.succeeded(way)
                return
            except RecordsRefused as refused:
                rows = without(rows, refused.dead)
                batch = self._sink.prepare(rows)
            except RowsRefused as refused:
                fault, way = refused.fault, self._ladder.next(way, refused.fault)
            except UnknownFault as unknown:
                self._suspect(rows, unknown)
                return
        self._halves(rows, fault)

    def _around_truncate(self, rows: Rows) -> None:
        """What lies before the first truncate, the truncate, and the rest, each in a transaction of its own."""
        place = rows.truncates[0]
        before, rest = at_truncate(rows, place, 0)
        if before.tiles:
            self.commit(self._sink.prepare(before))
        alone, rest = at_truncate(rest, place, 1)
        alone = structs.replace(alone, truncates=[], ignored=[*alone.ignored, place])
        try:
            self._attempt(self._sink.prepare(alone), Way.DIRECT, self._truncate)
        except (RowsRefused, UnknownFault) as fault:
            said = (
                f"{self._key.topic}-{place[0]} offset {place[1]}: the source's table was truncated, the copy cannot be"
            )
            mend = "drop what hinders it, a foreign key or a trigger, then reload (HUP)"
            raise Halt(f"{said}: {fault}; {mend}", [place[0]]) from fault
        if rest.tiles:
            self.commit(self._sink.prepare(rest))

    def _attach(self) -> None:
        with self._store.deciding():
            self._sink.attach(self._store.open())
        if self._sink.ways() != self._ways:
            self._ways = self._sink.ways()
            self._ladder = Ladder(self._ways)

    def _attempt(self, batch: Prepared, way: Way, first: Callable[[Transaction], None] | None = None) -> None:
        rows = batch.rows
        with self._store.transaction(rows.tiles, self.epochs) as tx:
            if first is not None:
                first(tx)
            outcome = self._sink.write(batch, tx, way) if first is None else Outcome(Counts(), [])
            dead = rows.dead + outcome.dead
            counts = counts_by_partition(rows, outcome)
            self._check_limits(rows, outcome, counts)
            if dead:
                self._store.write_dead_letters(dead, tx, self.topic_ids)
            tx.counts = counts
            if self._follower is not None:
                self._follower.written(rows, outcome, tx)
        for tile in rows.tiles:
            self._limits[tile.partition].commit()
        self._board.committed(rows, counts, way, batch.encode_ns, tx)
        if self._follower is not None:
            self._follower.committed(rows, outcome)

    def _check_limits(self, rows: Rows, outcome: Outcome, counts: dict[int, Counts]) -> None:
        dead = rows.dead + outcome.dead
        refused = {(letter.partition, letter.offset) for letter in outcome.dead}
        ignored = Counter(partition for partition, _ in rows.ignored)

        def good_before(partition: int) -> Callable[[int], int]:
            places = ((r.partition(), r.offset()) for r in rows.records)
            good = [place[1] for place in places if place[0] == partition and place not in refused]
            return lambda offset: bisect_left(good, offset)

        for tile in rows.tiles:
            p = tile.partition
            limit = self._limits.setdefault(p, self._new_limit(p))
            mine = [letter for letter in dead if letter.partition == p]
            # Every record is touched only when something was refused: 0.1 us a row otherwise.
            good = counts[p].records - len(mine) - ignored[p]
            limit.check(good, mine, good_before(p) if mine else _none_before, p, tile.start)

    def _suspect(self, rows: Rows, unknown: UnknownFault) -> None:
        """An error that the table of SQLSTATEs does not know: retried; when it repeats, record by record."""
        if self._isolating:
            self._halves(rows, str(unknown))
            return
        # At every partition: the faulty one stands still, while others of its batches may go on in between.
        places = [(tile.partition, tile.start) for tile in rows.tiles]
        self._unknown.update(places)
        if max(self._unknown[place] for place in places) < _UNKNOWN_FAULTS_BEFORE_SPLIT:
            raise unknown
        self._isolating = True
        try:
            self._halves(rows, str(unknown))
        finally:
            self._isolating = False
            self._unknown.clear()

    def _halves(self, rows: Rows, cause: RowFault | str) -> None:
        """Smaller tiles: for errors that only COMMIT raises. A single record that still fails is dead."""
        if len(rows.records) + len(rows.dead) > 1:
            for half in split(rows):
                self.commit(self._sink.prepare(half))
            return
        if not rows.records or isinstance(cause, str):
            partition, offset = _place(rows)
            why = cause if isinstance(cause, str) else f"{cause.sqlstate}: {cause.reason}"
            said = f"{self._key.topic}-{partition} offset {offset}: {why}"
            raise Halt(f"{said}; it fails alone and repeatedly: mend the cause, then reload (HUP)", [partition])
        letter = dead_letter(rows.records[0], "write", None, cause.reason, cause.sqlstate)
        self.commit(self._sink.prepare(without(rows, [letter])))


def _none_before(offset: int) -> int:
    return 0


def _place(rows: Rows) -> tuple[int, int]:
    """(partition, offset) of the only record; its tiles may begin with holes, and with those of other partitions."""
    if rows.records:
        return rows.records[0].partition(), rows.records[0].offset()
    if rows.dead:
        return rows.dead[0].partition, rows.dead[0].offset
    return rows.tiles[0].partition, rows.tiles[0].start
