"""A pipeline's topics: one by name, several with commas, many by a pattern with "*". Knows no Kafka."""

import re

from msgspec import structs

from ingestd.config.pipeline import Pipeline

TOPIC = "[A-Za-z0-9._-]{1,249}"


def has_many_topics(pipeline: Pipeline) -> bool:
    """Whether `topic` stands for more than the one topic of that name."""
    return "," in pipeline.topic or "*" in pipeline.topic


def subscriptions(pipeline: Pipeline) -> list[str]:
    """What to subscribe to: names, and librdkafka's regular expressions, which begin with "^"."""
    parts = [part.strip() for part in pipeline.topic.split(",") if part.strip()]
    return [f"^{_expression(part)}$" if "*" in part else part for part in parts]


def reads_topic(pipeline: Pipeline, topic: str) -> bool:
    """Whether records of `topic` go through `pipeline`."""
    parts = (part.strip() for part in pipeline.topic.split(","))
    return any(re.fullmatch(_expression(part), topic) for part in parts if part)


def for_topic(pipeline: Pipeline, topic: str) -> Pipeline:
    """The pipeline as it is for one of its topics: {topic}, {schema} and {table} in the table's name are filled in.

    Debezium's topics are named prefix.schema.table; of other topics {table} is the last part, {schema} the one before.
    """
    parts = topic.split(".")
    names = {"topic": topic, "table": parts[-1], "schema": parts[-2] if len(parts) > 1 else "public"}
    name = re.sub(r"\{(topic|table|schema)\}", lambda found: names[found[1]], pipeline.table.name)
    return structs.replace(pipeline, topic=topic, table=structs.replace(pipeline.table, name=name))


def _expression(part: str) -> str:
    """A regular expression of a name in which "*" stands for any characters; as RE2, POSIX and Python read it."""
    return ".*".join(re.escape(piece).replace(r"\-", "-") for piece in part.split("*"))
