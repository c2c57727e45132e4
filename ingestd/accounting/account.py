"""The judgement: what is accounted for, what is not, and by which proof. Knows no database and no Kafka client."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from msgspec import Struct, field

from ingestd.accounting.ranges import (
    OLDER_VERSION,
    REBUILD,
    UNKNOWN_MOVE,
    Fates,
    Range,
    Span,
    minus,
    size,
    total,
    union,
    written,
)


class LogSpan(Struct, frozen=True):
    """What Kafka still has of a span of offsets."""

    first: int
    """Retention removed what lies before."""
    end: int
    holes: list[Span]
    """Offsets without a record, between first and end."""


ReadLog = Callable[[int, Span], LogSpan]
"""(partition, span) -> what the log has of it."""


class Partition(Struct, kw_only=True):
    """The account of one partition."""

    partition: int
    ranges: list[Range]
    next_offset: int
    dead_letters: int
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    assumed_holes: int = 0
    """Offsets without a counted record that nothing was asked about."""
    proved_holes: int = 0
    """Those where the log has no record either."""
    holes: list[Span] = field(default_factory=list)
    """Where the log, read by us, has no record."""

    @property
    def fates(self) -> Fates:
        return total(one.fates for one in self.ranges)

    @property
    def covered(self) -> list[Span]:
        """Offsets of the topic as it is now that were committed."""
        return union((one.start, one.end) for one in self.latest)

    @property
    def latest(self) -> list[Range]:
        """The ranges of the topic as it is now; a topic that was created again begins anew."""
        return [one for one in self.ranges if one.topic_id == self.ranges[-1].topic_id]

    @property
    def read_again(self) -> list[Span]:
        """Offsets that more than one range covers."""
        again: list[Span] = []
        for topic_id in {one.topic_id for one in self.ranges}:
            seen: list[Span] = []
            for one in (one for one in self.ranges if one.topic_id == topic_id and one.end > one.start):
                span = [(one.start, one.end)]
                again += minus(span, minus(span, seen))
                seen = union([*seen, *span])
        return union(again)


def examine_partition(account: Partition, topic: str, read_log: ReadLog | None) -> None:
    """Problems and notes of one partition: its ranges, their counters, its dead letters, the log."""
    place = f"{topic}-{account.partition}"
    account.problems += [
        *_miscounted(account, place),
        *_moved(account, place),
        *_dead_letters(account, place),
    ]
    account.notes += _decisions(account, place)
    for one in account.latest:
        if one.without_record < 0:
            said = f"counts {one.fates.records} records where it has only {one.end - one.start} offsets"
            account.problems.append(f"{place}: the range {_span(one)} {said}: its counters were changed")
    asked = _compare_with_log(account, place, read_log) if read_log else 0
    account.assumed_holes = sum(max(0, one.without_record) for one in account.latest) - asked
    if account.assumed_holes > 0:
        said = f"{account.assumed_holes} offsets have no record and are assumed to be holes"
        account.notes.append(
            f"{place}: {said}" + ("" if read_log else " (transaction markers, compaction); --read-log tells")
        )


def _span(one: Range) -> str:
    return written([(one.start, one.end)]) if one.end > one.start else f"at {one.start}"


def _miscounted(account: Partition, place: str) -> Iterator[str]:
    sums = account.fates
    left = sums.records + sums.redriven - sums.accounted
    if left:
        yield f"{place}: {sums.records} records were delivered and {sums.accounted - sums.redriven} have a fate"


def _moved(account: Partition, place: str) -> Iterator[str]:
    """Moves that the ledger knows nobody's name of."""
    everything = account.covered
    for before, after in pairwise(account.ranges):
        if before.topic_id != after.topic_id or before.ended_by != UNKNOWN_MOVE:
            continue
        yield from _move(place, before.end, after.start, everything, f" (range {before.number} of ingestd.ranges)")
    last = account.ranges[-1]
    if account.next_offset != last.end:
        yield from _move(place, last.end, account.next_offset, everything, "")


def _move(place: str, origin: int, to: int, covered: Sequence[Span], where: str) -> Iterator[str]:
    if to > origin:
        skipped = minus([(origin, to)], covered)
        lost = f"; never read: {written(skipped)}" if skipped else "; what it skipped was read later"
        yield f"{place}: the cursor was moved by hand from {origin} forward to {to}{where}{lost}"
    elif to < origin:
        again = f"{to}..{origin - 1} are read again"
        yield f"{place}: the cursor was moved by hand from {origin} back to {to}{where}; {again}"


def _decisions(account: Partition, place: str) -> Iterator[str]:
    for before, after in pairwise(account.ranges):
        who = before.ended_by or ""
        if who == OLDER_VERSION:
            yield f"{place}: offsets before {after.start} were read by a version without ranges: by its counts only"
        elif before.topic_id != after.topic_id:
            yield f"{place}: the topic was created again after {_span(before)} ({who})"
        elif who != UNKNOWN_MOVE and after.start > before.end:
            skipped = minus([(before.end, after.start)], account.covered)
            if skipped:
                yield f"{place}: skipped by decision: {written(skipped)} ({who})"
        elif who != UNKNOWN_MOVE and after.start < before.end:
            yield f"{place}: {after.start}..{before.end - 1} read again by decision ({who})"
    first = account.latest[0].start
    if first > 0:
        yield f"{place}: accounted from {first} on, where the first run began"


def _dead_letters(account: Partition, place: str) -> Iterator[str]:
    expected, found = account.fates.dead_left, account.dead_letters
    if found < expected:
        yield f"{place}: {expected - found} dead letters are missing: {expected} must be there, {found} are"
    elif found > expected:
        yield f"{place}: {found - expected} dead letters too many: {expected} must be there, {found} are"


def _compare_with_log(account: Partition, place: str, read_log: ReadLog) -> int:
    """Count what the log really has in each range of the topic as it is now.

    Returns how many offsets without a counted record were told to be holes or losses by it.
    """
    asked = 0
    logs = {span: read_log(account.partition, span) for span in account.covered}
    account.holes = [hole for log in logs.values() for hole in log.holes]
    if gone := sum(min(log.first, end) - start for (start, end), log in logs.items() if log.first > start):
        account.notes.append(f"{place}: retention has removed {gone} of the offsets since; those are taken as counted")
    for one in account.latest:
        first = max((log.first for span, log in logs.items() if _in(one, span)), default=one.start)
        if first > one.start or one.end == one.start:
            continue
        holes = size(_within(account.holes, one))
        there = one.end - one.start - holes
        if there > one.fates.records:
            lost = f"{there - one.fates.records} records are in no count"
            account.problems.append(f"{place}: the log has {there} records in {_span(one)}; {lost}")
        elif there < one.fates.records:
            less = (
                f"the log has {there} records in {_span(one)}, fewer than the {one.fates.records} that were delivered"
            )
            account.notes.append(f"{place}: {less} (compaction or deletion since)")
        account.proved_holes += holes
        asked += max(0, one.without_record)
    return asked


def _in(one: Range, span: Span) -> bool:
    return span[0] <= one.start and one.end <= span[1]


def _within(spans: Sequence[Span], one: Range) -> list[Span]:
    return [(max(s, one.start), min(e, one.end)) for s, e in spans if s < one.end and e > one.start]


class Expected(Struct, frozen=True):
    """How many rows the table must have."""

    rows: int
    unknown: str | None = None
    """Why it cannot be known."""
    at_least: bool = False
    """Whether there may be more."""


def expected_rows(partitions: Sequence[Partition]) -> Expected:
    """From what was inserted since the table was last emptied for a rebuild; without hard deletes."""
    since = [_since_rebuild(account) for account in partitions]
    if any(rebuilt for rebuilt, _ in since) and not all(rebuilt for rebuilt, _ in since):
        return Expected(0, "the table was rebuilt for some partitions only")
    return Expected(total(fates for _, fates in since).inserted)


def _since_rebuild(account: Partition) -> tuple[bool, Fates]:
    rebuilds = [n for n, one in enumerate(account.ranges) if (one.ended_by or "").startswith(REBUILD)]
    return bool(rebuilds), total(one.fates for one in account.ranges[rebuilds[-1] + 1 if rebuilds else 0 :])
