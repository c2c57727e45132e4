"""`ingestd check`: what a start would meet, one finding a line, with what to do next. Changes nothing on any server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import structs

from ingestd.config.file import redact
from ingestd.config.options import Config
from ingestd.config.store_url import is_sqlite_url
from ingestd.config.topics import has_many_topics
from ingestd.preflight.findings import Finding, State
from ingestd.preflight.topics import by_topic, known_pipelines
from ingestd.stores.known_columns import waits_for_columns

_MOST_WAITING = 50


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
    for found in examine_registry(concrete):
        yield _plain(found, config)
    known = known_pipelines(concrete)
    waiting = [one for one in known.pipeline if waits_for_columns(one)]
    rest = structs.replace(known, pipeline=tuple(one for one in known.pipeline if one not in waiting))
    for found in _store(config)(rest):
        yield _plain(found, config)
    for one in waiting if len(waiting) < _MOST_WAITING else ():
        said = "its columns come from its first event"
        yield Finding(State.OK, f"table {one.table.name}" if one.has_table() else f"topic {one.topic}", said)
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
