"""The topics that patterns mean at the broker now, and what pipelines of many topics would make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs

from ingestd.config.options import Config, Pipeline
from ingestd.config.topics import (
    for_topic,
    has_many_topics,
    named_topics,
    patterns,
    pipelines_of,
    reads_topic,
    topics_of,
)
from ingestd.errors import StartupError
from ingestd.preflight.findings import Finding, State
from ingestd.stores.known_columns import with_known_columns

LONGEST_NAME_BYTES = 63


def by_topic(config: Config, found: Mapping[str, Sequence[int]]) -> Config:
    """`config` as if each topic had a pipeline of its own; `found` are the topics and partitions at the broker."""
    concrete: list[Pipeline] = []
    for pipeline in config.pipeline:
        many = has_many_topics(pipeline)
        topics = topics_of(config.pipeline, pipeline, found) if many else [pipeline.topic]
        concrete += [for_topic(pipeline, topic) for topic in topics]
    return structs.replace(config, pipeline=tuple(concrete))


def known_pipelines(config: Config) -> Config:
    """`config` with the columns of live copies that the ledger remembers; without a ledger there are none."""
    try:
        return structs.replace(config, pipeline=tuple(with_known_columns(config.store, config.pipeline)))
    except StartupError:  # no ledger yet, or what is wrong is found elsewhere
        return config


def examine_topics(config: Config, found: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Findings about every pipeline of many topics."""
    for index, pipeline in enumerate(config.pipeline):
        if has_many_topics(pipeline):
            yield from _examine_names(config, pipeline, found)
            yield from _examine_patterns(config, index, found)
            yield from _examine_tables(config, pipeline, found)


def _examine_names(config: Config, pipeline: Pipeline, found: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    for topic in named_topics(pipeline):
        if topic in found:
            yield Finding(State.OK, f"topic {topic}", _count(len(found[topic]), "partition"))
            continue
        servers = config.kafka.bootstrap_servers
        create = f"kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions 3"
        mend = f"mend pipeline.topic, or create it: {create}"
        yield Finding(State.FAIL, f"topic {topic}", "topic not found, or no privilege to see it", mend)


def _examine_patterns(config: Config, index: int, found: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    pipeline = config.pipeline[index]
    for pattern in patterns(pipeline):
        alone = structs.replace(pipeline, topic=pattern)
        meant = sorted(topic for topic in found if reads_topic(alone, topic))
        mine = [topic for topic in meant if index in pipelines_of(config.pipeline, topic)]
        subject = f"topics {pattern}"
        if not meant:
            mend = "mend pipeline.topic, or go on: a topic that comes is read within seconds"
            yield Finding(State.WARN, subject, "no topic matches yet", mend)
            continue
        partitions = _count(sum(len(found[topic]) for topic in mine), "partition")
        said = f"{_count(len(mine), 'topic')}, {partitions}: {_shown(mine)}"
        others = sorted(set(meant) - set(mine))
        if others:
            said += f"; pipelines above read {_count(len(others), 'more')}: {_shown(others)}"
        yield Finding(State.OK, subject, said)


def _examine_tables(config: Config, pipeline: Pipeline, found: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    if not pipeline.has_table():
        return
    filled: dict[str, str] = {}
    for topic in topics_of(config.pipeline, pipeline, found):
        table = for_topic(pipeline, topic).table.name
        other = filled.setdefault(table, topic)
        if other != topic:
            said = f"topics {other} and {topic} would both fill it; the later one halts"
            yield Finding(State.FAIL, f"table {table}", said, 'write "{topic}" or "{schema}.{table}" as table.name')
        elif any(len(part.encode()) > LONGEST_NAME_BYTES for part in table.split(".", 1)):
            said = f"its name is longer than the {LONGEST_NAME_BYTES} bytes that PostgreSQL keeps"
            yield Finding(State.FAIL, f"table {table}", said, "give the topic a pipeline of its own, above this one")


def _shown(topics: Sequence[str]) -> str:
    return ", ".join(topics[:5]) + (f" and {len(topics) - 5} more" if len(topics) > 5 else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 or noun == "more" else "s")
