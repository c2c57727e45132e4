"""Which worker carries which partitions."""

from hypothesis import given
from hypothesis import strategies as st

from ingestd.planning import Share, TopicPartition, plan_workers

TOPICS = ("a", "b", "a")
assignments = st.frozensets(st.tuples(st.sampled_from(["a", "b", "other"]), st.integers(0, 12)))


def units(shares: list[Share]) -> list[tuple[int, int]]:
    return sorted((share.pipeline, partition) for share in shares for partition in share.partitions)


def expected(assigned: frozenset[TopicPartition]) -> list[tuple[int, int]]:
    return sorted((i, p) for i, topic in enumerate(TOPICS) for name, p in assigned if name == topic)


@given(assignments, assignments, st.integers(1, 12))
def test_every_assigned_partition_has_exactly_one_worker(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    current = plan_workers(before, TOPICS, max_workers, [])
    shares = plan_workers(after, TOPICS, max_workers, current)
    assert units(shares) == expected(after)
    assert all(share.partitions for share in shares)


@given(assignments, assignments, st.integers(1, 12))
def test_workers_are_as_many_as_allowed_and_evenly_loaded(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    shares = plan_workers(after, TOPICS, max_workers, plan_workers(before, TOPICS, max_workers, []))
    pipelines = {pipeline for pipeline, _ in expected(after)}
    assert len(shares) == min(len(expected(after)), max(max_workers, len(pipelines)))
    for pipeline in pipelines:
        sizes = [len(share.partitions) for share in shares if share.pipeline == pipeline]
        assert max(sizes) <= -(-sum(sizes) // len(sizes))


@given(assignments, assignments, st.integers(1, 12))
def test_the_same_assignment_changes_nothing(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    shares = plan_workers(after, TOPICS, max_workers, plan_workers(before, TOPICS, max_workers, []))
    assert plan_workers(after, TOPICS, max_workers, shares) == shares


@given(assignments, assignments)
def test_with_workers_enough_only_changed_partitions_start_or_stop(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition]
) -> None:
    old = set(plan_workers(before, TOPICS, 100, []))
    new = set(plan_workers(after, TOPICS, 100, list(old)))
    changed = set(expected(before)) ^ set(expected(after))
    assert all((share.pipeline, share.partitions[0]) in changed for share in old ^ new)


def test_an_added_partition_restarts_at_most_one_worker() -> None:
    old = plan_workers({("a", p) for p in range(7)}, ["a"], 4, [])
    new = plan_workers({("a", p) for p in range(8)}, ["a"], 4, old)
    assert len(set(old) - set(new)) == 1


def test_a_revoked_partition_restarts_only_the_worker_that_had_it() -> None:
    old = plan_workers({("a", p) for p in range(8)}, ["a"], 4, [])
    new = plan_workers({("a", p) for p in range(8) if p != 3}, ["a"], 4, old)
    assert all(3 in share.partitions for share in set(old) - set(new))
