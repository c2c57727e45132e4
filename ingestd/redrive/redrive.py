"""Dead letters written again by the pipeline's own decoder, writer and sink. Knows no command line.

A letter leaves the dead letters in the transaction that writes its record: whatever ends the process, the record is
in exactly one of the two places.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any

from msgspec import Struct, field, structs

from ingestd.backoff import backoff_secs
from ingestd.batch import Chunk, Counts, DeadLetter, Decode, Rows, Tile
from ingestd.config import options as cfg
from ingestd.errors import Halt, IngestdError, LeaseLost, Retryable
from ingestd.redrive.expressions import FixFailed
from ingestd.redrive.mend import LetterRecord, Mending
from ingestd.sinks.ladder import Way
from ingestd.stores.dead_letters import DeadLetterBox, Left, Letter
from ingestd.stores.store import Claimed, FirstOffsets, LedgerKey, Store, Transaction
from ingestd.worker.limits import DeadLetterLimit
from ingestd.worker.writer import Follower, Sink, Writer

_CHUNK_LETTERS = 1_000
_CHUNK_BYTES = 32 * 1024 * 1024
_ATTEMPTS = 5
_ALL_REPLAYED = 2**63 - 1
_NO_LIMIT = cfg.DeadLetters(max_ratio=1.0, max_run=2**31)


class Refused(Struct, frozen=True):
    """A letter that stays, and why."""

    id: int
    reason: str


class Result(Struct):
    """What became of the letters of one redrive."""

    written: Counts = field(default_factory=Counts)
    refused: list[Refused] = []
    """Refused again; their reason in the box is the new one."""
    unmended: list[Refused] = []
    """A fix does not work on them; nothing of them was changed."""
    gone: list[int] = []
    """Another redrive has them, or they are there no longer."""

    @property
    def redriven(self) -> int:
        """How many letters left the box, or would."""
        return sum(structs.astuple(self.written))


class _LettersGone(IngestdError):
    """Letters of the batch cannot be locked: the batch is made anew without them."""

    def __init__(self, ids: set[int]):
        super().__init__(f"{len(ids)} letters are gone")
        self.ids = ids


class LetterStore:
    """What the writer takes for its store: each transaction locks its letters and removes those that were written."""

    def __init__(self, store: Store, box: DeadLetterBox, keep: bool):
        self._store = store
        self._box = box
        self._keep = keep
        self.letters: dict[tuple[int, int], Letter] = {}
        """Those of the batch by (partition, offset), all of one topic id: no two of one place."""
        self._refused: dict[tuple[int, int], str] = {}
        self.result = Result()
        self.done: set[int] = set()
        """Letters of committed transactions: redone after a fault, the rest of their batch goes without them."""

    @contextmanager
    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
        """One transaction over the letters that lie in `tiles`. Raises: _LettersGone before anything is written."""
        letters = {
            place: letter
            for place, letter in self.letters.items()
            if any(tile.partition == place[0] and tile.start <= place[1] < tile.end for tile in tiles)
        }
        ids = {letter.id for letter in letters.values()}
        self._refused = {}
        with self._store.side_transaction(self._keep) as tx:
            if missing := ids - self._box.lock(sorted(ids), tx).keys():
                raise _LettersGone(missing)
            # A letter was committed over, so nothing that came after it may give way; of whichever topic id it is.
            tx.replay_below = dict.fromkeys({tile.partition for tile in tiles}, _ALL_REPLAYED)
            tx.redrives = True
            yield tx
            written = [letter for place, letter in letters.items() if place not in self._refused]
            self._box.remove([letter.id for letter in written], _left(written, tx.counts), tx)
        self._note(letters, tx.counts)

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Refused again: the new reason, with key, payload and headers as they came from Kafka."""
        originals = []
        for letter in letters:
            stored = self.letters[(letter.partition, letter.offset)]
            originals.append(structs.replace(letter, payload=stored.payload))
            place = (letter.partition, letter.offset)
            self._refused[place] = f"column {letter.column}: {letter.reason}" if letter.column else letter.reason
        self._store.write_dead_letters(originals, tx, topic_ids)

    def _note(self, letters: dict[tuple[int, int], Letter], counts: dict[int, Counts]) -> None:
        self.done.update(letter.id for letter in letters.values())
        for count in counts.values():
            for fate, number in structs.asdict(_fates(count)).items():
                setattr(self.result.written, fate, getattr(self.result.written, fate) + number)
        for place, reason in self._refused.items():
            self.result.refused.append(Refused(letters[place].id, reason))

    def open(self) -> Any:
        return self._store.open()

    def close(self) -> None:
        self._store.close()

    def prepare(self) -> None:
        self._store.prepare()

    def claim(
        self, partitions: Sequence[int], first_offsets: FirstOffsets, held: dict[int, int] | None = None
    ) -> list[Claimed]:
        """Never: a redrive works beside the workers."""
        raise LeaseLost("a redrive holds no lease")

    def side_transaction(self, keep: bool = True) -> AbstractContextManager[Transaction]:
        return self._store.side_transaction(keep and self._keep)

    def deciding(self) -> AbstractContextManager[object]:
        return self._store.deciding()


class Redrive:
    """Redrives letters of one pipeline, in transactions of some hundred."""

    def __init__(
        self,
        store: Store,
        sink: Sink,
        box: DeadLetterBox,
        key: LedgerKey,
        decode: Decode,
        keep: bool = True,
        follower: Follower | None = None,
    ):
        """With `keep=False` every transaction is rolled back: a rehearsal, for which there is no `follower`."""
        self._box = box
        self._decode = decode
        self._store = LetterStore(store, box, keep)
        self._writer = Writer(
            self._store, sink, key, lambda p: DeadLetterLimit(_NO_LIMIT, key.pipeline, f"{p}"), _Nobody(), follower
        )

    def run(self, ids: Sequence[int], mending: Mending, seen: Callable[[Rows], None] = lambda rows: None) -> Result:
        """What became of these letters. `seen` is shown the rows of each batch before it is written.

        Raises: Retryable when the database stays away; what was committed until then stays. Halt.
        """
        result = self._store.result
        for letters, gone in pieces(self._box, ids):
            result.gone += gone
            records = [record for letter in letters if (record := self._mended(letter, mending)) is not None]
            records.sort(key=lambda record: (record.letter.topic_id, record.partition(), record.offset()))
            for topic_id, together in groupby(records, key=lambda record: record.letter.topic_id):
                self._write(topic_id, list(together), seen)
        return result

    def _mended(self, letter: Letter, mending: Mending) -> LetterRecord | None:
        try:
            return mending.record(letter)
        except FixFailed as failed:
            self._store.result.unmended.append(Refused(letter.id, str(failed)))
            return None

    def _write(self, topic_id: str, records: list[LetterRecord], seen: Callable[[Rows], None]) -> None:
        """One batch, again without those that are gone, until it is in or nothing is left of it."""
        attempts = 0
        while records:
            tiles = _tiles(records)
            rows = self._decode(Chunk(tiles, records))
            if rows.new_fields:
                names = ", ".join(rows.new_fields)
                raise Halt(f"letters have new fields without a column: {names}; add the columns to the configuration")
            self._store.letters = {(r.partition(), r.offset()): r.letter for r in records}
            self._writer.topic_ids = {tile.partition: topic_id for tile in tiles}
            try:
                seen(rows)
                self._writer.commit(self._writer.prepare([rows]))
                return
            except _LettersGone as gone:
                self._store.result.gone += sorted(gone.ids)
                records = [record for record in records if record.letter.id not in gone.ids]
            except Retryable:
                attempts += 1
                if attempts == _ATTEMPTS:
                    raise
                records = [record for record in records if record.letter.id not in self._store.done]
                time.sleep(backoff_secs(0.2, attempts))


class _Nobody:
    """Where the worker's board would be."""

    def committed(self, rows: Rows, counts: dict[int, Counts], way: Way, encode_ns: int, tx: Transaction) -> None:
        return None


def _tiles(records: Sequence[LetterRecord]) -> list[Tile]:
    tiles = []
    for partition, together in groupby(records, key=LetterRecord.partition):
        offsets = [record.offset() for record in together]
        tiles.append(Tile(partition, offsets[0], offsets[-1] + 1))
    return tiles


def _fates(counts: Counts) -> Counts:
    """`counts` of the letters that left: without the totals."""
    return structs.replace(counts, records=0, dead=0)


def _left(written: Sequence[Letter], counts: dict[int, Counts]) -> dict[int, Left]:
    numbers: dict[int, Left] = {}
    for letter in written:
        left = numbers.setdefault(letter.partition, Left(fates=_fates(counts[letter.partition])))
        left.redriven += 1
    return numbers


def drop(store: Store, box: DeadLetterBox, ids: Sequence[int]) -> int:
    """Delete these letters in one transaction, counted in the ledger: how many were there and free."""
    with store.side_transaction() as tx:
        locked = box.lock(ids, tx)
        left: dict[int, Left] = {}
        for partition in locked.values():
            left.setdefault(partition, Left()).dropped += 1
        box.remove(list(locked), left, tx)
    return len(locked)


def pieces(box: DeadLetterBox, ids: Sequence[int]) -> Iterator[tuple[list[Letter], list[int]]]:
    """These letters in ascending order, in pieces of bounded size, each with the ids up to its end that are gone."""
    wanted, start = sorted(ids), 0
    while asked := wanted[start : start + _CHUNK_LETTERS]:
        letters = box.read(asked, _CHUNK_BYTES)
        last = letters[-1].id if letters else asked[-1]
        found = {letter.id for letter in letters}
        yield letters, [number for number in asked if number <= last and number not in found]
        start = bisect_right(wanted, last)
