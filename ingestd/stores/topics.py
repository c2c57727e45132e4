"""Which topics of a pipeline the ledger knows: a pattern does not say. Knows no Kafka."""

from typing import Any

from ingestd.config import options as cfg
from ingestd.config.topics import for_topic, has_many_topics, named_topics, topics_of
from ingestd.stores.open import is_sqlite, open_reading
from ingestd.stores.statements import load_statements

_SQL = load_statements("topics.sql")


def ledger_topics(options: cfg.Store, pipeline: str) -> list[str]:
    """The topics that were ever read through the pipeline, sorted; none when there is no ledger yet.

    Raises: StartupError when the store cannot be read.
    """
    with open_reading(options) as connection:
        return list(topics_on(options, connection, pipeline))


def topics_on(options: cfg.Store, connection: Any, pipeline: str) -> dict[str, int]:
    """The same, with the highest epoch of each topic, on a connection of the store; leaves no transaction open.

    Raises as the driver does.
    """
    kind = "sqlite_" if is_sqlite(options) else ""
    exists, topics = _SQL[f"{kind}ledger_exists"], _SQL[f"{kind}ledger_topics"]
    if kind:
        known = connection.execute(exists.decode()).fetchone()[0]
        return dict(connection.execute(topics.decode(), {"pipeline": pipeline}).fetchall()) if known else {}
    with connection.transaction(), connection.cursor() as cursor:
        known = cursor.execute(exists).fetchone()[0]
        return dict(cursor.execute(topics, {"pipeline": pipeline}).fetchall()) if known else {}


def concrete(config: cfg.Config, pipeline: cfg.Pipeline, known: list[str]) -> list[cfg.Pipeline]:
    """The pipeline as it is for each of its topics: those it names, and those of `known` that its patterns mean."""
    if not has_many_topics(pipeline):
        return [for_topic(pipeline, pipeline.topic)]
    topics = topics_of(config.pipeline, pipeline, [*named_topics(pipeline), *known])
    return [for_topic(pipeline, topic) for topic in topics]
