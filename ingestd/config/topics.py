"""A pipeline's topics: one by name, several with commas, many by a pattern with "*". Knows no Kafka."""

import re
from collections.abc import Iterable, Sequence

from msgspec import structs

from ingestd.config.pipeline import Pipeline

TOPIC = "[A-Za-z0-9._-]{1,249}"
INTERNAL = "__"
"""How Kafka's own topics begin; a pattern means them only when it begins so itself."""


class OneOfMany(Pipeline, frozen=True, kw_only=True):
    """A pipeline of many topics, as it is for one of them; see `for_topic`."""


def has_many_topics(pipeline: Pipeline) -> bool:
    """Whether `topic` stands for more than the one topic of that name."""
    return "," in pipeline.topic or "*" in pipeline.topic


def named_topics(pipeline: Pipeline) -> list[str]:
    """The topics that `topic` names, without those it means by a pattern."""
    return [part for part in _parts(pipeline) if "*" not in part]


def patterns(pipeline: Pipeline) -> list[str]:
    """The patterns in `topic`, as written."""
    return [part for part in _parts(pipeline) if "*" in part]


def subscriptions(pipeline: Pipeline) -> list[str]:
    """What to subscribe to: names, and librdkafka's regular expressions, which begin with "^"."""
    return [f"^{_expression(part)}$" if "*" in part else part for part in _parts(pipeline)]


def reads_topic(pipeline: Pipeline, topic: str) -> bool:
    """Whether records of `topic` go through `pipeline`, were it the only one of its file."""
    return any(_means(part, topic) for part in _parts(pipeline))


def pipelines_of(pipelines: Sequence[Pipeline], topic: str) -> list[int]:
    """Indexes of the pipelines that `topic` goes through.

    All that name it, as ever; of those that mean it by a pattern none but the first of all that read it: what stands
    above a pattern is an exception to it.
    """
    found: list[int] = []
    for index, pipeline in enumerate(pipelines):
        if topic in named_topics(pipeline) or (not found and reads_topic(pipeline, topic)):
            found.append(index)
    return found


def topics_of(pipelines: Sequence[Pipeline], pipeline: Pipeline, topics: Iterable[str]) -> list[str]:
    """Those of `topics`, sorted, whose records go through `pipeline`, one of `pipelines`."""
    index = [one.name for one in pipelines].index(pipeline.name)
    return sorted(topic for topic in set(topics) if index in pipelines_of(pipelines, topic))


def for_topic(pipeline: Pipeline, topic: str) -> Pipeline:
    """The pipeline as it is for one of its topics: {topic}, {schema} and {table} in the table's name are filled in.

    Debezium's topics are named prefix.schema.table; of other topics {table} is the last part, {schema} the one before.
    {topic} is the whole name with "_" for each ".": Kafka allows no two topics that differ in this only.
    """
    parts = topic.split(".")
    names = {"topic": topic.replace(".", "_"), "table": parts[-1], "schema": parts[-2] if len(parts) > 1 else "public"}
    name = re.sub(r"\{(topic|table|schema)\}", lambda found: names[found[1]], pipeline.table.name)
    table = structs.replace(pipeline.table, name=name)
    if not has_many_topics(pipeline):
        return structs.replace(pipeline, topic=topic, table=table)
    return OneOfMany(**structs.asdict(pipeline) | {"topic": topic, "table": table})


def memory_name(pipeline: Pipeline) -> str:
    """Under which name the versions of the table's keys are remembered: a table each, so a memory each."""
    return f"{pipeline.name}:{pipeline.topic}" if isinstance(pipeline, OneOfMany) else pipeline.name


def _parts(pipeline: Pipeline) -> list[str]:
    return [part.strip() for part in pipeline.topic.split(",") if part.strip()]


def _means(part: str, topic: str) -> bool:
    if topic.startswith(INTERNAL) and not part.startswith(INTERNAL):
        return False
    return re.fullmatch(_expression(part), topic) is not None


def _expression(part: str) -> str:
    """A regular expression of a name in which "*" stands for any characters; as RE2, POSIX and Python read it."""
    return ".*".join(re.escape(piece).replace(r"\-", "-") for piece in part.split("*"))
