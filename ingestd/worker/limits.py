"""When refusing records must stop: ratio and run length of dead letters by partition. Knows no sink."""

from collections import Counter, deque
from collections.abc import Callable, Sequence

from ingestd.batch import DeadLetter
from ingestd.config import options as cfg
from ingestd.errors import Halt

WINDOW_RECORDS = 10_000
AT_LEAST_RECORDS = 100
_LONGEST_REASON = 100

GoodBefore = Callable[[int], int]
"""How many good records of the batch and partition lie before an offset."""


class DeadLetterLimit:
    """One partition's recent past. `check` before the commit, `commit` after it."""

    def __init__(self, options: cfg.DeadLetters, pipeline: str, place: str):
        self._options = options
        self._pipeline = pipeline
        self._place = place
        self._window: deque[tuple[int, int]] = deque()
        self._seen = 0
        self._dead = 0
        self._run = 0
        self._after: tuple[int, int, int] = (0, 0, 0)

    def check(self, good: int, dead: Sequence[DeadLetter], good_before: GoodBefore, partition: int, start: int) -> None:
        """Whether a batch of `good` good records and these `dead` ones may be committed.

        `good_before(offset)` is asked only when there are dead ones.
        Raises: Halt, naming the first offset of the batch and what to do.
        """
        run, longest = self._run_after(good, dead, good_before)
        records = good + len(dead)
        self._after = (records, len(dead), run)
        seen, refused = self._seen + records, self._dead + len(dead)
        if longest > self._options.max_run:
            said = f"{longest} records in a row were refused (max_run = {self._options.max_run})"
            self._halt(said + _most_often(dead), partition, start)
        if seen >= AT_LEAST_RECORDS and refused > self._options.max_ratio * seen:
            said = f"{refused} of the last {seen} records were refused (max_ratio = {self._options.max_ratio:g})"
            self._halt(said + _most_often(dead), partition, start)

    def _halt(self, said: str, partition: int, start: int) -> None:
        mend = "mend the producer, the contract or [pipeline.dead_letters], then reload (HUP) or restart"
        raise Halt(
            f"{self._place}: {said}; stopped before offset {start} of pipeline {self._pipeline}: {mend}", [partition]
        )

    def _run_after(self, good: int, dead: Sequence[DeadLetter], good_before: GoodBefore) -> tuple[int, int]:
        """(run at the end, longest run), counted over records, not offsets: a log may have holes."""
        if not dead:
            return (0, 0) if good else (self._run, 0)
        run, longest, before = self._run, 0, 0
        for letter in sorted(dead, key=lambda d: d.offset):
            place = good_before(letter.offset)
            run = run + 1 if place == before else 1
            longest, before = max(longest, run), place
        return (run if before == good else 0), longest

    def commit(self) -> None:
        """The batch that was checked last is committed: it counts from now on."""
        records, dead, self._run = self._after
        if not records:
            return
        self._window.append((records, dead))
        self._seen += records
        self._dead += dead
        while self._seen - self._window[0][0] >= WINDOW_RECORDS:
            old_records, old_dead = self._window.popleft()
            self._seen -= old_records
            self._dead -= old_dead


def _most_often(dead: Sequence[DeadLetter]) -> str:
    """What the halt would hide: its batch is rolled back, and its dead letters with it."""
    if not dead:
        return ""
    (column, reason), _ = Counter((letter.column, letter.reason) for letter in dead).most_common(1)[0]
    first = min(letter.offset for letter in dead if (letter.column, letter.reason) == (column, reason))
    said = "".join(c if c.isprintable() else " " for c in reason[:_LONGEST_REASON])
    return f", most often for: {f'column {column}: ' if column else ''}{said} (first at offset {first})"
