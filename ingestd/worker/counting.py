"""Counts of a transaction by partition. Knows no sink and no store."""

from collections import Counter

from msgspec import structs

from ingestd.batch import Counts, Outcome, Rows

_FATES = ("updated", "stale", "folded", "duplicates", "deleted")


def counts_by_partition(rows: Rows, outcome: Outcome) -> dict[int, Counts]:
    """What became of the records of `rows`, by partition; the sums are exact.

    A database says how many rows changed, not whose they were: over several partitions each fate is apportioned by
    the rows of each, which is exact for a batch of one partition.
    """
    dead = Counter(letter.partition for letter in rows.dead + outcome.dead)
    late = Counter(letter.partition for letter in outcome.dead)
    if len(rows.tiles) == 1:
        delivered = Counter({rows.tiles[0].partition: len(rows.records)})
    else:
        delivered = Counter(record.partition() for record in rows.records)
    left = structs.asdict(outcome.counts)
    left_rows = outcome.counts.inserted + sum(left[fate] for fate in _FATES)
    counts = {}
    for tile in sorted(rows.tiles):
        p = tile.partition
        written = delivered[p] - late[p]
        count = Counts(records=delivered[p] - late[p] + dead[p], dead=dead[p])
        unshared = written
        for fate in _FATES:
            share = min(unshared, left[fate] * written // left_rows) if left_rows else 0
            setattr(count, fate, share)
            left[fate] -= share
            unshared -= share
        count.inserted = unshared
        left_rows -= written
        counts[p] = count
    return counts
