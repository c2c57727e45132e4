"""What the options of topics, lake and change events must not say. Knows no records, no servers and no files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from ingestd.config.options import Column, Lake, Pipeline
from ingestd.config.topics import TOPIC, for_topic, has_many_topics, named_topics
from ingestd.config.values import Findings
from ingestd.schema.types import parse_type

PARTITION = re.compile(r"(?P<part>year|month|day|hour|date)\((?P<of>.+)\)")
"""A partition made of a timestamp: "year(ts)"."""
_TIMES = ("timestamptz", "timestamp", "date")
_FILLED_IN = ("{topic}", "{table}")


def check_lakes(pipelines: tuple[Pipeline, ...], findings: Findings) -> None:
    """Note every contradiction; options that are already spoiled are left alone."""
    roots: dict[str, int] = {}
    for index, pipeline in enumerate(pipelines):
        path = f"pipeline[{index}]"
        for option, message in _problems(pipeline):
            if not findings.spoiled(f"{path}.{option}"):
                findings.add(f"{path}.{option}", message)
        if pipeline.lake is not None and pipeline.lake.path is not None:
            root = _normal(pipeline.lake.path)
            if problem := _root_problem(root, roots):
                findings.add(f"{path}.lake.path", f"{problem}; give each a root of its own")
            roots.setdefault(root, index)


def _normal(root: str) -> str:
    return root.rstrip("/") if root.startswith("s3://") else os.path.abspath(root)


def _root_problem(root: str, others: dict[str, int]) -> str:
    """Whoever reads a lake reads everything below its root."""
    if root in others:
        return f"is the lake of pipeline[{others[root]}]"
    for other, index in others.items():
        if root.startswith(f"{other}/"):
            return f"is inside the lake of pipeline[{index}]"
        if other.startswith(f"{root}/"):
            return f"has the lake of pipeline[{index}] inside"
    return ""


def _problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    if pipeline.topic is not None:
        yield from _topic_problems(pipeline)
    if not pipeline.has_table() and pipeline.lake is None:
        yield "table", "is missing, and so is a lake; write [pipeline.table], [pipeline.lake], or both"
    if pipeline.on_new_field == "evolve" and not pipeline.has_table():
        yield "on_new_field", '"evolve" adds columns to a table; write [pipeline.table], or remove it'
    from_events = pipeline.cdc is not None and pipeline.cdc.columns == "from_events"
    if not pipeline.column and not from_events:
        yield "column", "is missing; declare the columns with [[pipeline.column]]"
    if pipeline.column and from_events:
        yield "column", 'is not declared with cdc.columns = "from_events"; remove the columns, or write "declared"'
    if pipeline.lake is not None:
        yield from _lake_problems(pipeline, pipeline.lake)


def _topic_problems(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    parts = [part.strip() for part in pipeline.topic.split(",")]
    for part in parts:
        if not re.fullmatch(TOPIC, part.replace("*", "x")):
            yield "topic", f'"{part}" is no name of a topic (letters, digits, ".", "_" and "-"), nor a pattern with "*"'
            return
    if len(set(parts)) < len(parts):
        yield "topic", "names a topic twice"
    name = pipeline.table.name
    if has_many_topics(pipeline) and name and not any(word in name for word in _FILLED_IN):
        # Cursors are kept by topic: rows of several in one table could never be told apart again.
        yield "table.name", 'must contain "{table}" or "{topic}": every topic has a table of its own'
    elif has_many_topics(pipeline) and name:
        yield from _shared_tables(pipeline)
    if has_many_topics(pipeline) and pipeline.table.ddl is not None:
        yield "table.ddl", "makes one table, but every topic has its own; remove it, or make them beforehand"


def _shared_tables(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    filled: dict[str, str] = {}
    for topic in named_topics(pipeline):
        table = for_topic(pipeline, topic).table.name
        other = filled.setdefault(table, topic)
        if other != topic:
            yield (
                "table.name",
                f'is "{table}" for both {other} and {topic}; write "{{topic}}" or "{{schema}}.{{table}}"',
            )


def _lake_problems(pipeline: Pipeline, lake: Lake) -> Iterator[tuple[str, str]]:
    columns = {column.name: column for column in pipeline.column if column.stored}
    if lake.path is not None and lake.path.startswith("s3://") and not re.match(r"s3://[^/]+", lake.path):
        yield "lake.path", 'names no bucket; write "s3://bucket/prefix"'
    for option in ("sort_by", "columns"):
        names = getattr(lake, option) or ()
        for name in names:
            if columns and name not in columns:
                yield f"lake.{option}", f'"{name}" is not a stored column; there are: {", ".join(columns)}'
            elif option == "sort_by" and lake.columns and name not in lake.columns:
                yield "lake.sort_by", f'"{name}" is not in lake.columns, so the files do not have it'
            elif option == "sort_by" and columns and _is_array(columns[name]):
                yield "lake.sort_by", f'"{name}" is {columns[name].type}; arrays have no order in Parquet'
    seen: set[str] = set()
    for written in lake.partition_by or ():
        made = PARTITION.fullmatch(written)
        name, directory = (made["of"], made["part"]) if made else (written, written)
        if columns and name not in columns:
            yield "lake.partition_by", f'"{name}" is not a stored column; there are: {", ".join(columns)}'
        elif made and columns and not _is_time(columns[name]):
            yield "lake.partition_by", f'"{written}": {name} is {columns[name].type}, not a timestamp or date'
        if directory in seen:
            yield "lake.partition_by", f'makes two directories named "{directory}="'
        seen.add(directory)
    if lake.compact is not None and (lake.path or "").startswith("s3://"):
        asked = lake.compact.every is not None and lake.compact.into is None
        if asked and lake.compact.readers == "any":
            yield (
                "lake.compact.readers",
                "an object store cannot exchange a directory at once, so a plain glob could count wrong; "
                'write readers = "manifest" when all read through ingestd, or remove `every`',
            )


def _is_array(column: Column) -> bool:
    try:
        return parse_type(column.type).is_array
    except ValueError:
        return False  # told of where the type is


def _is_time(column: Column) -> bool:
    try:
        return parse_type(column.type).name in _TIMES
    except ValueError:
        return True  # told of where the type is
