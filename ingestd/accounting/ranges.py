"""Ranges of the ledger, and arithmetic on sets of offsets. Knows no database and no Kafka.

A span is [start, end); lists of spans are sorted and disjoint.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

Span = tuple[int, int]

UNKNOWN_MOVE = "unknown move"
OLDER_VERSION = "older version"
REBUILD = "rebuild from "


class Fates(Struct, frozen=True, kw_only=True):
    """The counters of a range, as the ledger's columns are called."""

    records: int = 0
    inserted: int = 0
    updated: int = 0
    stale: int = 0
    folded: int = 0
    duplicates: int = 0
    deleted: int = 0
    passed: int = 0
    dead: int = 0
    dead_again: int = 0
    redriven: int = 0
    dropped: int = 0

    @property
    def accounted(self) -> int:
        """Records that have a fate; equal to `records` in a ledger that nobody changed."""
        written = self.inserted + self.updated + self.deleted
        return written + self.stale + self.folded + self.duplicates + self.passed + self.dead

    @property
    def dead_left(self) -> int:
        """Dead letters that must be in the table: each once, without those that were sent again or dropped."""
        return self.dead - self.dead_again - self.redriven - self.dropped


class Range(Struct, frozen=True, kw_only=True):
    """Offsets committed without a break, and what became of their records."""

    number: int | None
    """Its id in the ranges table; None: the current one, in the cursors table."""
    partition: int
    topic_id: str
    start: int
    end: int
    fates: Fates
    ended_by: str | None = None

    @property
    def without_record(self) -> int:
        """Offsets that held no record: transaction markers, what compaction removed."""
        return self.end - self.start - self.fates.records


def total(fates: Iterable[Fates]) -> Fates:
    """The sum, counter by counter."""
    sums = dict.fromkeys(Fates.__struct_fields__, 0)
    for one in fates:
        for name in sums:
            sums[name] += getattr(one, name)
    return Fates(**sums)


def union(spans: Iterable[Span]) -> list[Span]:
    """The spans that cover the same offsets, sorted, disjoint, as few as possible."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def minus(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What of `spans` no span of `others` covers; both sorted and disjoint."""
    left = []
    at = 0
    for start, end in spans:
        while at and others[at - 1][1] > start:
            at -= 1
        while start < end:
            while at < len(others) and others[at][1] <= start:
                at += 1
            if at == len(others) or others[at][0] >= end:
                left.append((start, end))
                break
            if others[at][0] > start:
                left.append((start, others[at][0]))
            start = others[at][1]
    return left


def overlap(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """What both cover."""
    return minus(spans, minus(spans, others))


def size(spans: Iterable[Span]) -> int:
    """How many offsets."""
    return sum(end - start for start, end in spans)


def written(spans: Sequence[Span], most: int = 10) -> str:
    """For messages, last offset included as people read it: "7, 1204..1209 and 3 more"."""
    shown = [f"{start}" if end - start == 1 else f"{start}..{end - 1}" for start, end in spans[:most]]
    more = size(spans[most:])
    return ", ".join(shown) + (f" and {more} more" if more else "")
