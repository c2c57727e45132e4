"""Which worker carries which partitions."""

from hypothesis import given
from hypothesis import strategies as st

from ingestd.config.options import Column, Pipeline, Table
from ingestd.planning import Share, TopicPartition, by_pipeline, by_topic, named, plan_workers


def pipeline(topic: str) -> Pipeline:
    return Pipeline(name=topic, topic=topic, column=(Column(name="a", type="text"),), table=Table(name="{table}"))


PIPELINES = tuple(map(pipeline, ("a", "b", "a", "m.*")))
NAMES = ("a", "b", "m.1", "m.2", "m.3", "other")
assignments = st.frozensets(st.tuples(st.sampled_from(NAMES), st.integers(0, 12)))
Unit = tuple[int, str, int]


def units(shares: list[Share]) -> list[Unit]:
    return sorted((share.pipeline, topic, partition) for share in shares for topic, partition in share.partitions)


def expected(assigned: frozenset[TopicPartition]) -> list[Unit]:
    reads = ({"a"}, {"b"}, {"a"}, {"m.1", "m.2", "m.3"})
    return sorted((i, topic, p) for i, topics in enumerate(reads) for topic, p in assigned if topic in topics)


def plan(assigned: frozenset[TopicPartition], max_workers: int, current: list[Share]) -> list[Share]:
    return plan_workers(by_pipeline(PIPELINES, assigned), max_workers, current)


@given(assignments, assignments, st.integers(1, 12))
def test_every_assigned_partition_has_exactly_one_worker(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    shares = plan(after, max_workers, plan(before, max_workers, []))
    assert units(shares) == expected(after)
    assert all(share.partitions for share in shares)


@given(assignments, assignments, st.integers(1, 12))
def test_workers_are_as_many_as_allowed_and_evenly_loaded(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    shares = plan(after, max_workers, plan(before, max_workers, []))
    pipelines = {pipeline for pipeline, _, _ in expected(after)}
    assert len(shares) == min(len(expected(after)), max(max_workers, len(pipelines)))
    for pipeline in pipelines:
        sizes = [len(share.partitions) for share in shares if share.pipeline == pipeline]
        assert max(sizes) <= -(-sum(sizes) // len(sizes))


@given(assignments, assignments, st.integers(1, 12))
def test_the_same_assignment_changes_nothing(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition], max_workers: int
) -> None:
    shares = plan(after, max_workers, plan(before, max_workers, []))
    assert plan(after, max_workers, shares) == shares


@given(assignments, assignments)
def test_with_workers_enough_only_changed_partitions_start_or_stop(
    before: frozenset[TopicPartition], after: frozenset[TopicPartition]
) -> None:
    old = set(plan(before, 200, []))
    new = set(plan(after, 200, list(old)))
    changed = set(expected(before)) ^ set(expected(after))
    assert all((share.pipeline, *share.partitions[0]) in changed for share in old ^ new)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 8))
def test_a_new_topic_of_a_pattern_restarts_no_worker_that_does_not_take_it(
    topics: int, partitions: int, max_workers: int
) -> None:
    """Topics come one after the other; a worker may be started anew only to give up what is too much, or to take."""
    assigned = {(f"m.{n}", p) for n in range(topics) for p in range(partitions)}
    old = plan(frozenset(assigned), max_workers, [])
    new = plan(frozenset(assigned | {("m.new", 0)}), max_workers, old)
    gone, come = set(old) - set(new), set(new) - set(old)
    assert len(gone) <= 1 and len(come) <= 2
    assert any(("m.new", 0) in share.partitions for share in come)


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 8))
def test_few_topics_are_torn_apart_between_workers(topics: int, partitions: int, max_workers: int) -> None:
    """Each topic that a worker has costs it threads and a connection; each border cuts one topic at most."""
    shares = plan(frozenset((f"m.{n}", p) for n in range(topics) for p in range(partitions)), max_workers, [])
    if len(shares) <= topics:
        assert sum(len(by_topic(share.partitions)) for share in shares) <= topics + 2 * len(shares)


def test_an_added_partition_restarts_at_most_one_worker() -> None:
    old = plan(frozenset(("b", p) for p in range(7)), 4, [])
    new = plan(frozenset(("b", p) for p in range(8)), 4, old)
    assert len(set(old) - set(new)) == 1


def test_a_revoked_partition_restarts_only_the_worker_that_had_it() -> None:
    old = plan(frozenset(("b", p) for p in range(8)), 4, [])
    new = plan(frozenset(("b", p) for p in range(8) if p != 3), 4, old)
    assert all(("b", 3) in share.partitions for share in set(old) - set(new))


def test_a_deleted_topic_restarts_only_the_workers_that_had_it() -> None:
    old = plan(frozenset((f"m.{n}", p) for n in range(12) for p in range(2)), 3, [])
    new = plan(frozenset((f"m.{n}", p) for n in range(12) for p in range(2) if n != 5), 3, old)
    assert all("m.5" in by_topic(share.partitions) for share in set(old) - set(new))


def test_what_comes_goes_to_a_worker_that_restarts_anyway() -> None:
    old = [Share(3, (("m.1", 0), ("m.1", 1))), Share(3, (("m.2", 0), ("m.2", 1), ("m.2", 2)))]
    new = plan(frozenset({("m.1", 0), ("m.1", 1), ("m.2", 0), ("m.2", 1), ("m.1", 2)}), 2, old)
    assert old[0] in new, "though it has the topic already"


def test_partitions_are_named_in_one_line() -> None:
    assert named([("tx", 0), ("sales", 2), ("sales", 0)]) == "sales[0,2] tx[0]"
