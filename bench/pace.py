"""When how many messages are due. Knows nothing of Kafka or of messages."""

import time
from collections.abc import Callable


class Pace:
    """Messages due at a steady rate: some every millisecond or so, not one sleep per message.

    After a stall at most `catch_up_secs` worth is made good at once, so that a stall does not become a burst.
    """

    def __init__(self, per_sec: float, catch_up_secs: float = 1.0, clock: Callable[[], float] = time.perf_counter):
        self.per_sec = per_sec
        self._catch_up = catch_up_secs
        self._clock = clock
        self._from = clock()
        self._granted = 0

    def due(self, at_most: int) -> int:
        """How many may go now; what is granted counts as gone."""
        now = self._clock()
        owed = (now - self._from) * self.per_sec - self._granted
        if owed > self._catch_up * self.per_sec:
            self._from, self._granted = now - self._catch_up, 0
            owed = self._catch_up * self.per_sec
        count = min(int(owed), at_most)
        self._granted += count
        return count

    def wait_secs(self) -> float:
        """How long until the next one is due; at least a millisecond, so that fast rates go in slices."""
        next_at = self._from + (self._granted + 1) / self.per_sec
        return max(0.001, next_at - self._clock())
