"""How long to wait before the next attempt at what failed."""

import random


def backoff_secs(first_secs: float, failures: int, longest_secs: float = 30.0) -> float:
    """The pause after failure number `failures` (from 1): doubles up to the longest, the last half of it random."""
    pause = min(longest_secs, first_secs * 2.0 ** min(failures - 1, 30))
    return pause * random.uniform(0.5, 1.0)
