"""`ingestd check`: what a start would meet, one finding a line, with what to do next. Changes nothing on any server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ingestd.config.file import redact
from ingestd.config.options import Config
from ingestd.config.store_url import is_sqlite_url
from ingestd.config.topics import has_many_topics
from ingestd.preflight.findings import Finding
from ingestd.preflight.topics import by_topic


def examine(config: Config) -> Iterator[Finding]:
    """Every finding about broker, topics, group, schema registry, database and tables, each as soon as it is known.

    Messages hold no secret. Takes a few seconds at most for each server that does not answer.
    """
    # Both load libraries of 30 MB and more: `ingestd check --offline` needs neither.
    from ingestd.preflight.kafka import examine_kafka, find_topics
    from ingestd.preflight.lake import examine_lakes
    from ingestd.preflight.registry import examine_registry

    for found in examine_kafka(config):
        yield _plain(found, config)
    concrete = by_topic(config, find_topics(config) or {}) if any(map(has_many_topics, config.pipeline)) else config
    for part in (examine_registry, _store(config)):
        for found in part(concrete):
            yield _plain(found, config)
    for found in examine_lakes(config):
        yield _plain(found, config)


def _plain(found: Finding, config: Config) -> Finding:
    message = _one_line(redact(found.message, config))
    return Finding(found.state, found.subject, message, found.mend, found.configuration)


def _store(config: Config) -> Callable[[Config], Iterator[Finding]]:
    if is_sqlite_url(config.store.url):
        from ingestd.preflight.sqlite import examine_sqlite

        return examine_sqlite
    from ingestd.preflight.postgres import examine_postgres

    return examine_postgres


def _one_line(text: str) -> str:
    return " ".join(text.split())
