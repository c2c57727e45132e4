"""Which worker carries which partitions: pure decisions over what is assigned. Knows no process, board or Kafka."""

from collections.abc import Collection, Iterable, Sequence, Set
from typing import NamedTuple

from msgspec import Struct

from ingestd.config.pipeline import Pipeline
from ingestd.config.topics import pipelines_of

TopicPartition = tuple[str, int]


class Part(Struct, frozen=True):
    """What one worker process carries of one topic."""

    topic: str
    partitions: tuple[int, ...]
    """Ascending."""
    lanes: dict[int, int]
    """Partition -> its lane on the board."""
    late: bool = False
    """The topic came while its pipeline was running."""


class WorkerPlan(Struct, frozen=True):
    """What one worker process is started for."""

    slot: int
    """Its slot on the board."""
    pipeline: int
    """Index in the configuration."""
    parts: tuple[Part, ...]
    """By topic, at least one; all of the pipeline's topics."""


class Share(NamedTuple):
    """Partitions of one pipeline that one worker carries, ascending."""

    pipeline: int
    partitions: tuple[TopicPartition, ...]


def by_pipeline(pipelines: Sequence[Pipeline], assigned: Iterable[TopicPartition]) -> list[frozenset[TopicPartition]]:
    """What of `assigned` each pipeline reads; a topic that none reads is left out."""
    readers: dict[str, list[int]] = {}
    found: list[set[TopicPartition]] = [set() for _ in pipelines]
    for topic, partition in assigned:
        if topic not in readers:
            readers[topic] = pipelines_of(pipelines, topic)
        for index in readers[topic]:
            found[index].add((topic, partition))
    return [frozenset(one) for one in found]


def named(partitions: Iterable[TopicPartition]) -> str:
    """ "sales[0,1,2] tx[0]": short enough for one line."""
    return " ".join(f"{topic}[{','.join(map(str, numbers))}]" for topic, numbers in by_topic(partitions).items())


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, tuple[int, ...]]:
    """Topic -> its partitions; both ascending."""
    found: dict[str, tuple[int, ...]] = {}
    for topic, partition in sorted(partitions):
        found[topic] = (*found.get(topic, ()), partition)
    return found


def plan_workers(wanted: Sequence[Set[TopicPartition]], max_workers: int, current: Collection[Share]) -> list[Share]:
    """The shares to run, where `wanted[i]` is what pipeline i reads; all of it is in exactly one share of pipeline i.

    One worker per (pipeline, partition) up to `max_workers`; beyond it workers carry several partitions of the same
    pipeline, of one topic or of several, none more than its equal part rounded up, and every pipeline keeps at least
    one worker, even if these alone are more than `max_workers`. Shares of `current` stay as they are where that is
    possible, so that a change of the assignment restarts only workers whose partitions change.
    """
    counts = _worker_counts([len(partitions) for partitions in wanted], max_workers)
    shares: list[Share] = []
    for pipeline, (partitions, count) in enumerate(zip(wanted, counts, strict=True)):
        before = [set(share.partitions) for share in current if share.pipeline == pipeline]
        parts = _divide(frozenset(partitions), count, before)
        shares += [Share(pipeline, tuple(sorted(part))) for part in parts]
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


Partitions = set[TopicPartition]


def _divide(partitions: frozenset[TopicPartition], count: int, before: list[Partitions]) -> list[Partitions]:
    """`count` disjoint non-empty parts of `partitions`, as near to `before` as the size limit allows."""
    if not partitions:
        return []
    limit = -(-len(partitions) // count)
    parts: list[Partitions] = []
    for part in sorted(before, key=lambda one: (-len(one), sorted(one))):
        kept = (part & partitions).difference(*parts)
        if kept and len(parts) < count:
            parts.append(set(sorted(kept)[:limit]))
    loose = sorted(partitions.difference(*parts))
    untouched = {id(part) for part in parts if part in before}
    while len(parts) < count:
        # A new worker takes what nobody carries; when all is carried, the largest worker gives one up.
        parts.append({_take_new(loose, parts) if loose else _give_up(parts, untouched)})
    for one in loose:
        # Rather onto a worker that restarts anyway than onto one that could go on undisturbed; and rather onto one
        # that has the topic already: each topic of a worker costs threads and a connection.
        room = [part for part in parts if len(part) < limit]
        topics = {id(part): any(topic == one[0] for topic, _ in part) for part in room}
        min(room, key=lambda p: (id(p) in untouched, not topics[id(p)], len(p), min(p))).add(one)
    return parts


def _take_new(loose: list[TopicPartition], parts: list[Partitions]) -> TopicPartition:
    """One of `loose`, if there is one of a topic that nobody carries."""
    carried = {topic for part in parts for topic, _ in part}
    chosen = min(loose, key=lambda one: (one[0] in carried, one))
    loose.remove(chosen)
    return chosen


def _give_up(parts: list[Partitions], untouched: Set[int]) -> TopicPartition:
    largest = max(parts, key=lambda part: (len(part), id(part) not in untouched))
    partition = max(largest)
    largest.discard(partition)
    return partition
