"""The ladder of ways into a table, and its memory of what failed lately. Knows no SQL and no connection.

No savepoints: an error rolls the whole transaction back and the batch is redone one way further.
"""

from enum import IntEnum

from ingestd.stores.faults import RowFault

_LONGEST_STAY_AWAY = 256


class Way(IntEnum):
    """From the fastest to the most patient."""

    DIRECT = 0
    """COPY straight into the table."""
    STAGED = 1
    """COPY into staging, then INSERT .. ON CONFLICT DO NOTHING."""
    SIFTED = 2
    """COPY into staging, ask all rows which of them a CHECK constraint refuses, COPY the others into the table."""
    SCREENED = 3
    """Staged, without the rows that a CHECK constraint refuses: found by asking all of them in one statement."""
    LOOPED = 4
    """Staged, then inserted block by block on the server; a refused block goes row by row."""


_UNIQUE_VIOLATION = "23505"
_CHECK_VIOLATION = "23514"


class Ladder:
    """Chooses the way for the next batch.

    Each failure keeps a way out of use for twice as many batches as the one before: a failed COPY leaves dead
    tuples behind. A success makes it forget.
    """

    def __init__(self, ways: tuple[Way, ...]):
        self._ways = ways
        self._penalty = dict.fromkeys(ways, 0)
        self._wait = dict.fromkeys(ways, 0)

    def first(self) -> Way:
        """The way to begin a new batch with."""
        for way in self._ways:
            if self._wait[way] == 0:
                return way
        return self._ways[-1]

    def next(self, failed: Way, fault: RowFault) -> Way | None:
        """The way to try after `failed`; None when there is none left and the batch must be split."""
        if fault.at_commit or failed is self._ways[-1]:
            return None
        later = [way for way in self._ways if way > failed]
        wanted = Way.LOOPED
        if fault.sqlstate == _UNIQUE_VIOLATION:
            wanted = {Way.DIRECT: Way.STAGED, Way.SIFTED: Way.SCREENED}.get(failed, Way.LOOPED)
        elif fault.sqlstate == _CHECK_VIOLATION:
            wanted = {Way.DIRECT: Way.SIFTED, Way.STAGED: Way.SCREENED}.get(failed, Way.LOOPED)
        chosen = next((way for way in later if way >= wanted), later[-1])
        for way in self._ways:
            if failed <= way < chosen:
                self._penalty[way] = min(_LONGEST_STAY_AWAY, max(1, self._penalty[way] * 2))
                self._wait[way] = self._penalty[way] + 1
        return chosen

    def succeeded(self, way: Way) -> None:
        """Count a committed batch: faster ways come nearer, this one is trusted again."""
        self._penalty[way] = 0
        for faster in self._ways:
            if self._wait[faster]:
                self._wait[faster] -= 1
