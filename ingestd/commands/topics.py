"""`--topic`: the pipelines of a file as they are for each topic, as the ledger knows them. Moves and prints nothing."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingestd.config.topics import has_many_topics
from ingestd.errors import ConfigError, StartupError

if TYPE_CHECKING:
    from ingestd.config.options import Config, Pipeline


def add_topic(parser: argparse.ArgumentParser) -> None:
    """Declare `--topic` of a command that does without it what it does for all topics."""
    parser.add_argument("--topic", metavar="NAME", help="only this topic of a pipeline that has many")


def by_topic(config: "Config", pipelines: "Sequence[Pipeline]", topic: str | None) -> "list[Pipeline]":
    """Each pipeline as it is for each of its topics, or for the one that was asked for.

    Connects to the store when a pipeline has many. Raises: ConfigError when no pipeline reads `topic`, StartupError
    when the ledger knows no topic of a pattern yet.
    """
    found = [one for pipeline in pipelines for one in _concrete(config, pipeline)]
    chosen = [one for one in found if topic in (None, one.topic)]
    if not chosen:
        known = ", ".join(sorted({one.topic for one in found}))
        raise ConfigError([f"--topic {topic}: not among the topics that were read: {known}"])
    return chosen


def all_topics(config: "Config") -> "Config":
    """The configuration as if each topic that was read had a pipeline of its own."""
    from msgspec import structs

    return structs.replace(
        config, pipeline=tuple(one for pipeline in config.pipeline for one in _concrete(config, pipeline, empty=True))
    )


def one_topic(config: "Config", pipeline: "Pipeline", topic: str | None) -> "Pipeline":
    """The pipeline as it is for `topic`, or for its only one. Raises: ConfigError when it is not clear which."""
    chosen = by_topic(config, [pipeline], topic)
    if len(chosen) > 1:
        raise ConfigError([f"--topic: choose one of {', '.join(one.topic for one in chosen)}"])
    return chosen[0]


def _concrete(config: "Config", pipeline: "Pipeline", empty: bool = False) -> "list[Pipeline]":
    from ingestd.stores.known_columns import with_known_columns
    from ingestd.stores.topics import concrete, ledger_topics

    known = ledger_topics(config.store, pipeline.name) if has_many_topics(pipeline) else []
    found = concrete(config, pipeline, known)
    if not found and not empty:
        raise StartupError(f"pipeline {pipeline.name}: no topic of {pipeline.topic} was read yet; run it once first")
    return with_known_columns(config.store, found)
