"""The state machine: producers, workers, faults, rewinds and redrives in any order. Knows no store by name."""

import itertools
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec import structs

from ingestd.accounting.account import LogSpan
from ingestd.accounting.ranges import Span, union
from ingestd.accounting.verify import verify
from ingestd.config import options as cfg
from ingestd.stores.cursors import Move
from ingestd.stores.store import LedgerKey
from tests.property.histories.faults import Fault
from tests.property.histories.places import Place
from tests.property.histories.reference import Reference
from tests.property.histories.setup import BAD, MENDED, Change, Setup, changes, setups
from tests.property.histories.worker import Log, Worker, redrive
from tests.sinks.contracts import MemoryRecord

_NAMES = itertools.count(1)
_SLOTS = 3
_CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=3)
_SLOT = st.integers(0, _SLOTS - 1)
_KINDS = st.sampled_from(["die", "lose", "odd", "steal"])
_FAULTS = st.tuples(_KINDS, st.integers(0, 40), st.just(False)) | st.tuples(_KINDS, st.integers(0, 2), st.just(True))
"""(kind, how many points before it, whether only those around COMMIT count)."""


class Histories(RuleBasedStateMachine):
    """One history on `place`; the last step of each is a worker that reads everything, and the comparison."""

    def __init__(self, place: Place):
        super().__init__()
        self.place = place
        self.changes: dict[int, list[Change | None]] = {}
        self.log: Log = {}
        self.workers: dict[int, Worker] = {}
        self.position: dict[int, int] = {}
        """How far the reference has read."""
        self.counter = itertools.count(1)

    @initialize(setup=setups(), drawn=st.data())
    def begin(self, setup: Setup, drawn: st.DataObject) -> None:
        self.setup = setup
        self.name = f"p{next(_NAMES)}"
        self.pipeline = setup.pipeline(self.name)
        self.key = LedgerKey(self.name, self.pipeline.topic)
        self.reference = Reference(setup)
        for p in range(setup.partitions):
            self.changes[p], self.log[p], self.position[p] = [], [], 0
        self.place.make(self.name, setup)
        first = self._new_worker(range(setup.partitions))
        first._store.prepare()
        first.step([1])
        self.workers[0] = first
        self.place.tally["histories"] += 1
        self.produce(drawn)

    def _new_worker(self, partitions: Any) -> Worker:
        return Worker(self.place, self.pipeline, self.log, list(partitions))

    def _step(self, what: str) -> None:
        self.place.tally["steps"] += 1
        self.place.tally[f"step {what}"] += 1

    def _append(self, change: Change) -> None:
        p = change.key % self.setup.partitions
        unasked = self.place.folds or self.setup.refusal == "deferred"
        if change.v == BAD and unasked and self.setup.chains:
            # Replaced by a later record in its transaction, its other fields stay: what the table is never asked about,
            # or only at COMMIT, it cannot refuse.
            change = structs.replace(change, v="abc")
        # Where a refused row may be folded away unseen, an event's id must not stand for two contents.
        number = next(self.counter) if self.setup.mode == "upsert" else change.eid
        self._write(p, structs.replace(change, eid=f"e{p}{number}"))

    def _write(self, p: int, change: Change | None) -> None:
        at, record = len(self.log[p]), None
        if change is not None:
            key = change.id.encode() if change.form != "keyless" else None
            record = MemoryRecord(change.payload(self.setup), at, p, key)
        self.log[p].append(record)
        self.changes[p].append(change)

    @rule(drawn=st.data())
    def produce(self, drawn: st.DataObject) -> None:
        """New records, old ones sent once more (they have new offsets), and holes, in any mix."""
        self._step("produce")
        again = st.tuples(st.integers(0, 2), st.integers(0, 30))
        one = st.none() | again | changes(self.setup) | changes(self.setup) | changes(self.setup)
        for what in drawn.draw(st.lists(one, min_size=6, max_size=24)):
            if isinstance(what, Change):
                self._append(what)
                continue
            p = (0 if what is None else what[0]) % self.setup.partitions
            old = self.changes[p][what[1] : what[1] + 2] if what is not None else [None]
            for change in old:
                self._write(p, change)

    @rule(
        slot=_SLOT,
        anew=st.none() | st.sets(st.integers(0, 2), min_size=1),
        cuts=_CUTS,
        batches=st.integers(1, 4),
        fault=_FAULTS | st.none() | _FAULTS,
    )
    def work(
        self,
        slot: int,
        anew: set[int] | None,
        cuts: list[int],
        batches: int,
        fault: tuple[str, int, bool] | None,
    ) -> None:
        """A worker of any daemon reads on; its connection may break anywhere in that.

        With `anew` one is started that takes these partitions; whoever has them does not know yet.
        """
        self._step("work")
        if anew is not None:
            self._start(slot, {p % self.setup.partitions for p in anew})
        slot = sorted(self.workers)[slot % len(self.workers)]
        worker = self.workers[slot]
        if fault is not None and fault[0] in self.place.kinds and not worker.gone:
            worker.faults.steal = lambda: self._steal(slot)
            worker.faults.waiting = Fault(*fault)
        for _ in range(batches):
            self._run(worker, cuts)
        self._compare()

    @rule(slot=_SLOT, cuts=_CUTS, batches=st.integers(2, 6))
    def work_undisturbed(self, slot: int, cuts: list[int], batches: int) -> None:
        """As most of the time; also a worker that lost its lease goes on like this."""
        self.work(slot, None, cuts, batches, None)

    def _start(self, slot: int, partitions: set[int]) -> None:
        if slot in self.workers:
            self.workers[slot].stop()
        self.workers[slot] = self._new_worker(partitions)
        self._run(self.workers[slot], [1])

    def _run(self, worker: Worker, cuts: list[int]) -> None:
        """One step of a worker; if its lease was lost before, it commits nothing."""
        if worker.gone:
            return
        epochs, cursors = self._ledger("epoch"), self._ledger("next_offset")
        lost = {p for p, epoch in worker.writer.epochs.items() if epochs.get(p) != epoch}
        claimed = worker.positions is not None
        worker.step(cuts)
        if lost and claimed:
            moved = lost & self._moved(cursors).keys()
            assert not moved, f"a worker committed partitions {moved}, whose lease it had lost"
            self.place.tally["zombies that were refused"] += worker.gone or worker.positions is None

    def _moved(self, cursors: dict[int, int]) -> dict[int, int]:
        return {p: at for p, at in self._ledger("next_offset").items() if cursors.get(p) != at}

    def _steal(self, slot: int) -> None:
        """In the middle of another's transaction."""
        thief = (slot + 1) % _SLOTS
        if thief in self.workers:
            self.workers[thief].stop()
        self.workers[thief] = self._new_worker(range(self.setup.partitions))
        self.workers[thief].step([1])

    # A record is a row once more each time it is read, unless a gate or a key knows it.
    @precondition(lambda self: self.setup.mode != "append" or self.setup.gate)
    @rule(p=st.integers(0, 2), back=st.integers(1, 20), cut=st.integers(0, 4))
    def rewind(self, p: int, back: int, cut: int) -> None:
        """The cursor is reset, then a new worker reads the first of it again: that changes nothing either."""
        self._step("rewind")
        p %= self.setup.partitions
        self._compare()
        to = max(0, self.position[p] - back)
        self.place.move(self.key, [Move(p, to, "id")])
        self.place.tally["offsets rewound"] += self.position[p] - to
        self.position[p] = to
        if cut:
            self._start(p, set(range(self.setup.partitions)))
            self._run(self.workers[p], [cut])
            self._compare()

    @rule(
        chosen=st.sets(st.integers(0, 2), min_size=1),
        mend=st.sampled_from([True, True, True, False]),
        fault=st.none() | st.none() | st.integers(0, 60),
    )
    def redrive(self, chosen: set[int], mend: bool, fault: int | None) -> None:
        """Letters are sent again; of each key one, because the order of equals among them is nobody's promise."""
        self._step("redrive")
        self._compare()
        letters = self._letters()
        by_key: dict[Any, int] = {}
        for n, (place, id_) in enumerate(sorted(letters.items())):
            if n % 3 in chosen and (change := self.changes[place[0]][place[1]]) is not None:
                by_key[change.key] = id_
        faults = self.place.faults()
        if fault is not None:
            faults.waiting = Fault("die", fault % 2 if fault > 50 else fault, fault > 50)
        ids = sorted(by_key.values())
        done = redrive(self.place, self.pipeline, ids, [f"v={MENDED}"] if mend else [], faults)
        asked = {place for place, id_ in letters.items() if id_ in ids}
        self._judge_redrive(asked, asked - set(self._letters()), mend, whole=done is not None)

    def _judge_redrive(self, asked: set[Any], left: set[Any], mend: bool, whole: bool) -> None:
        """A mended letter leaves the box; of the others only one that its table is not asked about any more."""
        changed = {place: change for place in asked if (change := self.changes[place[0]][place[1]]) is not None}
        mended = {place for place, change in changed.items() if mend and change.form == "json"}
        settled = {place for place, change in changed.items() if not mend and change.refused_by_table(self.setup)}
        assert left <= mended | settled, f"letters left unmended: {left - mended}"
        assert not whole or mended <= left, f"mended letters stay: {mended - left}"
        for place in sorted(left):
            self.reference.redrive(place, changed[place] if place in mended else None)
            if place in settled:
                # It went through the gate and found its row there: a duplicate like any other.
                self.reference.maybe_seen.add(changed[place].eid)
            self.place.tally["letters redriven"] += 1

    def _compare(self) -> None:
        """The reference reads what the ledger says is committed; then everything must be equal."""
        self._catch_up_reference()
        self._check_tables()

    def _ledger(self, column: str) -> dict[int, int]:
        return dict(self.place.ask(f"SELECT partition, {column} FROM ingestd.cursors WHERE pipeline = '{self.name}'"))

    def _letters(self) -> dict[tuple[int, int], int]:
        rows = self.place.ask(
            f"SELECT partition, \"offset\", id FROM ingestd.dead_letters WHERE pipeline = '{self.name}'"
        )
        return {(p, at): id_ for p, at, id_ in rows}

    def _catch_up_reference(self) -> None:
        for p, end in self._ledger("next_offset").items():
            for at in range(self.position[p], end):
                change = self.changes[p][at]
                if change is not None:
                    self.reference.read((p, at), change)
            self.position[p] = end

    def _check_tables(self) -> None:
        reference, stored = self.reference, self.setup.stored
        wanted = reference.appended if self.setup.mode == "append" else list(reference.rows.values())
        found = [dict(zip(stored, row, strict=True)) for row in self.place.ask(self._select(stored))]
        for row in found:
            if "ts" in row:
                row["ts"] = self.setup.rank(row["ts"])
            if "gone" in row:
                row["gone"] = bool(row["gone"])
        more, less = _difference(found, [{name: row[name] for name in stored} for row in wanted])
        assert not more and not less, f"the table has {more}, the reference {less}"
        letters = set(self._letters())
        assert reference.dead <= letters, f"dead letters are missing: {reference.dead - letters}"
        assert letters <= reference.dead | reference.maybe_dead, f"dead letters too many: {letters - reference.dead}"
        if self.setup.gate:
            self._check_gate()

    def _select(self, stored: tuple[str, ...]) -> str:
        return f"SELECT {', '.join(stored)} FROM t_{self.name}"

    def _check_gate(self) -> None:
        """The keys of what went through. A record that its table was not asked about may have left its key."""
        keys = {row[0] for row in self.place.ask(f"SELECT eid FROM seen_{self.name}")}
        less, more = self.reference.gate - keys, keys - self.reference.gate - self.reference.maybe_seen
        assert not less and not more, f"the gate lacks {less} and has {more} beyond the reference"

    def teardown(self) -> None:
        if not hasattr(self, "setup"):
            return
        last = self._new_worker(range(self.setup.partitions))
        try:
            while last.behind:
                last.step([7])
                assert not last.gone, last.ended_by
            self._compare()
            assert self.position == {p: len(self.log[p]) for p in self.log}
            self._verify()
        finally:
            for worker in (*self.workers.values(), last):
                worker.stop()
            self.place.tally["records"] += sum(map(len, self.log.values()))
            self.place.tally["dead letters at the end"] += len(self._letters())
            self.place.drop(self.name, self.setup)

    def _verify(self) -> None:
        config = cfg.Config(
            kafka=cfg.Kafka(bootstrap_servers="x", group_id="g"), store=self.place.options, pipeline=(self.pipeline,)
        )
        report = verify(config, self.pipeline, (), self._read_log)
        assert not report.problems, report.problems

    def _read_log(self, partition: int, span: Span) -> LogSpan:
        holes = [(at, at + 1) for at in range(*span) if self.log[partition][at] is None]
        return LogSpan(span[0], span[1], union(holes))


def _difference(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What only one of them has; rows may be there several times."""
    one, other = Counter(map(repr, found)), Counter(map(repr, wanted))
    return sorted((one - other).elements()), sorted((other - one).elements())
