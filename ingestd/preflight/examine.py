"""`ingestd check`: what a start would meet, one finding a line, with what to do next. Changes nothing on any server."""

from __future__ import annotations

from collections.abc import Iterator

from ingestd.config.file import redact
from ingestd.config.options import Config
from ingestd.preflight.findings import Finding


def examine(config: Config) -> Iterator[Finding]:
    """Every finding about broker, topics, group, schema registry, database and tables, each as soon as it is known.

    Messages hold no secret. Takes a few seconds at most for each server that does not answer.
    """
    # Both load libraries of 30 MB and more: `ingestd check --offline` needs neither.
    from ingestd.preflight.kafka import examine_kafka
    from ingestd.preflight.registry import examine_registry
    from ingestd.preflight.store import examine_store

    for part in (examine_kafka, examine_registry, examine_store):
        for found in part(config):
            yield Finding(
                found.state, found.subject, _one_line(redact(found.message, config)), found.mend, found.configuration
            )


def _one_line(text: str) -> str:
    return " ".join(text.split())
