"""Which worker carries which partitions: pure decisions over what is assigned. Knows no process, board or Kafka."""

from collections.abc import Collection, Sequence, Set
from typing import NamedTuple

from msgspec import Struct

TopicPartition = tuple[str, int]


class WorkerPlan(Struct, frozen=True):
    """What one worker process is started for."""

    slot: int
    """Its slot on the board."""
    pipeline: int
    """Index in the configuration."""
    partitions: tuple[int, ...]
    """Ascending; all of the pipeline's topic."""
    lanes: dict[int, int]
    """Partition -> its lane on the board."""


class Share(NamedTuple):
    """Partitions of one pipeline that one worker carries, ascending."""

    pipeline: int
    partitions: tuple[int, ...]


def plan_workers(
    assigned: Set[TopicPartition], topics: Sequence[str], max_workers: int, current: Collection[Share]
) -> list[Share]:
    """The shares to run for `assigned`; every assigned partition of every pipeline is in exactly one of them.

    One worker per (pipeline, partition) up to `max_workers`; beyond it workers carry several partitions of the same
    pipeline, none more than its equal part rounded up, and every pipeline keeps at least one worker, even if these
    alone are more than `max_workers`. Shares of `current` stay as they are where that is possible, so that a change
    of the assignment restarts only workers whose partitions change. `topics[i]` is the topic of pipeline i.
    """
    wanted = [frozenset(p for topic, p in assigned if topic == name) for name in topics]
    counts = _worker_counts([len(partitions) for partitions in wanted], max_workers)
    shares: list[Share] = []
    for pipeline, (partitions, count) in enumerate(zip(wanted, counts, strict=True)):
        before = [set(share.partitions) for share in current if share.pipeline == pipeline]
        shares += [Share(pipeline, tuple(sorted(part))) for part in _divide(partitions, count, before)]
    return sorted(shares)


def _worker_counts(sizes: Sequence[int], max_workers: int) -> list[int]:
    """Workers per pipeline: one each, the rest one by one to the pipeline whose workers carry most."""
    counts = [min(size, 1) for size in sizes]
    while sum(counts) < max_workers:
        heaviest = max(
            range(len(sizes)), key=lambda i: sizes[i] / counts[i] if counts[i] < sizes[i] else 0.0, default=0
        )
        if not sizes or counts[heaviest] >= sizes[heaviest]:
            break
        counts[heaviest] += 1
    return counts


def _divide(partitions: frozenset[int], count: int, before: list[set[int]]) -> list[set[int]]:
    """`count` disjoint non-empty parts of `partitions`, as near to `before` as the size limit allows."""
    if not partitions:
        return []
    limit = -(-len(partitions) // count)
    parts: list[set[int]] = []
    for part in sorted(before, key=lambda one: (-len(one), sorted(one))):
        kept = (part & partitions).difference(*parts)
        if kept and len(parts) < count:
            parts.append(set(sorted(kept)[:limit]))
    loose = sorted(partitions.difference(*parts))
    untouched = [part for part in parts if part in before]
    while len(parts) < count:
        # A new worker takes what nobody carries; when all is carried, the largest worker gives one up.
        parts.append({loose.pop(0) if loose else _give_up(parts, untouched)})
    for partition in loose:
        # Rather onto a worker that restarts anyway than onto one that could go on undisturbed.
        room = [part for part in parts if len(part) < limit]
        min(room, key=lambda part: (part in untouched, len(part), min(part))).add(partition)
    return parts


def _give_up(parts: list[set[int]], untouched: list[set[int]]) -> int:
    largest = max(parts, key=lambda part: (len(part), part not in untouched))
    partition = max(largest)
    largest.discard(partition)
    return partition
