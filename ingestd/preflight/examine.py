"""`ingestd check`: what a start would meet, one finding a line, with what to do next. Changes nothing on any server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ingestd.config.file import redact
from ingestd.config.options import Config
from ingestd.config.store_url import is_sqlite_url
from ingestd.preflight.findings import Finding


def examine(config: Config) -> Iterator[Finding]:
    """Every finding about broker, topics, group, schema registry, database and tables, each as soon as it is known.

    Messages hold no secret. Takes a few seconds at most for each server that does not answer.
    """
    # Both load libraries of 30 MB and more: `ingestd check --offline` needs neither.
    from ingestd.preflight.kafka import examine_kafka
    from ingestd.preflight.registry import examine_registry

    for part in (examine_kafka, examine_registry, _store(config)):
        for found in part(config):
            yield Finding(
                found.state, found.subject, _one_line(redact(found.message, config)), found.mend, found.configuration
            )


def _store(config: Config) -> Callable[[Config], Iterator[Finding]]:
    if is_sqlite_url(config.store.url):
        from ingestd.preflight.sqlite import examine_sqlite

        return examine_sqlite
    from ingestd.preflight.postgres import examine_postgres

    return examine_postgres


def _one_line(text: str) -> str:
    return " ".join(text.split())
