"""Counts of a transaction by partition. Knows no sink and no store."""

from collections import Counter

import numpy as np

from ingestd.batch import Counts, Outcome, Rows
from ingestd.rows import partitions_of

_FATES = ("updated", "stale", "folded", "duplicates", "deleted", "passed", "inserted")


def counts_by_partition(rows: Rows, outcome: Outcome) -> dict[int, Counts]:
    """What became of the records of `rows`, by partition; the sums are exact.

    A database says how many rows changed, not whose they were: over several partitions each fate is apportioned by
    the rows of each, which is exact for a batch of one partition.
    """
    dead = Counter(letter.partition for letter in rows.dead + outcome.dead)
    late = Counter(letter.partition for letter in outcome.dead)
    ignored = Counter(partition for partition, _ in rows.ignored)
    found, numbers = np.unique(partitions_of(rows), return_counts=True)
    delivered = Counter(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
    left = {fate: int(getattr(outcome.counts, fate)) for fate in _FATES}
    counts = {}
    for tile in sorted(rows.tiles):
        p = tile.partition
        written = delivered[p] - late[p]
        shares = _share(left, written)
        left = {fate: left[fate] - share for fate, share in shares.items()}
        shares["passed"] += ignored[p]
        counts[p] = Counts(records=written + dead[p] + ignored[p], dead=dead[p], **shares)
    return counts


def _share(left: dict[str, int], rows: int) -> dict[str, int]:
    """`rows` of what is left, each fate by its proportion and never more than there is of it."""
    total = max(1, sum(left.values()))
    shares = {fate: count * rows // total for fate, count in left.items()}
    rest = rows - sum(shares.values())
    for fate, count in left.items():
        more = min(rest, count - shares[fate])
        shares[fate] += more
        rest -= more
    return shares
