"""Which table a topic's events belong into, and the pipeline that decodes them. Knows no file and no store."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct, structs

from ingestd.config import options as cfg
from ingestd.config.topics import for_topic, reads_topic
from ingestd.errors import Halt


class TableOf(Struct, frozen=True):
    """The table of one topic."""

    name: str
    topic: str
    options: cfg.MedallionTable


def table_of(pipeline: cfg.Pipeline, topic: str) -> TableOf | None:
    """The table of this topic's events; None when no table reads them."""
    assert pipeline.medallion is not None
    for options in pipeline.medallion.table or (cfg.MedallionTable(),):
        if reads_topic(structs.replace(pipeline, topic=options.topic or pipeline.topic), topic):
            named = structs.replace(pipeline, topic=topic, table=cfg.Table(name=options.name))
            return TableOf(for_topic(named, topic).table.name, topic, options)
    return None


def tables_of(pipeline: cfg.Pipeline, topics: Iterable[str], known: dict[str, str]) -> list[TableOf]:
    """The tables of these topics; `known` are tables that there are, with their topics.

    Raises: Halt when two topics would fill one table: their keys would mix.
    """
    owners = dict(known)
    found = []
    for topic in sorted(topics):
        table = table_of(pipeline, topic)
        if table is None:
            continue
        owner = owners.setdefault(table.name, topic)
        if owner != topic:
            raise Halt(
                f'table "{table.name}" would be made of {owner} and of {topic}; in [[pipeline.medallion.table]] write a'
                ' name with "{schema}" or "{topic}", or a table for each'
            )
        found.append(table)
    return found


def decoding(
    pipeline: cfg.Pipeline, table: TableOf, columns: tuple[cfg.Column, ...], key: tuple[str, ...]
) -> cfg.Pipeline:
    """The pipeline whose decoder makes rows of the table's events, as if they were copied live."""
    kept = tuple(structs.replace(one, keep_when_absent=one.name not in key) for one in columns)
    options = table.options
    return cfg.Pipeline(
        name=pipeline.name,
        topic=table.topic,
        format="json",
        column=kept,
        cdc=cfg.Cdc(decimals=options.decimals, unavailable=options.unavailable),
        table=cfg.Table(name=table.name, mode="upsert", key=key, delete=cfg.Delete(how="hard")),
    )


def stage_root(pipeline: cfg.Pipeline) -> Path:
    """The directory of the stage tables."""
    return _root(pipeline, "stage")


def current_root(pipeline: cfg.Pipeline) -> Path:
    """The directory of the current tables."""
    return _root(pipeline, "current")


def _root(pipeline: cfg.Pipeline, option: str) -> Path:
    assert pipeline.medallion is not None and pipeline.lake is not None
    given = getattr(pipeline.medallion, option)
    return Path(given) if given else Path(pipeline.lake.path).parent / option
