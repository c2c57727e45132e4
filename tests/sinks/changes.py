"""Pipelines of changes for the upsert tests, and a table's rows as they lie on disk."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingestd.batch import Counts
from ingestd.config import options as cfg
from tests.sinks.contracts import TOPIC, Bench, MemoryRecord, ask, decoded

Column = str | Mapping[str, Any]


def changes_of(
    columns: Mapping[str, Column],
    key: Sequence[str] = ("id",),
    version: str | Sequence[str] = "offset",
    delete: Mapping[str, Any] | None = None,
    name: str = "p",
    table: str = "t",
    **options: Any,
) -> cfg.Pipeline:
    """An upsert pipeline of column name -> type, or -> the column's options."""
    declared = [
        {"name": column, **({"type": kind} if isinstance(kind, str) else kind)} for column, kind in columns.items()
    ]
    for one in declared:
        if one["name"] in key:
            one.setdefault("required", True)
    more = {"delete": delete} if delete is not None else {}
    return msgspec.convert(
        {
            "name": name,
            "topic": TOPIC,
            "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
            "column": declared,
            "table": {
                "name": table,
                "mode": "upsert",
                "key": key,
                "version": version,
                "create": True,
                **more,
                **options,
            },
        },
        cfg.Pipeline,
    )


def one_by_one(bench: Bench, values: Sequence[Any], start: int = 0, partition: int = 0) -> None:
    """Each value in a batch of its own."""
    for n, value in enumerate(values, start):
        bench.commit([value], n, partition)


def commit_records(bench: Bench, records: Sequence[MemoryRecord]) -> None:
    """One batch of records of any partitions, as the worker joins it."""
    bench.commit_rows(decoded(bench.pipeline, records))


def rewind(bench: Bench, offset: int = 0, partition: int = 0) -> None:
    """The cursor moved by hand, and claimed again."""
    ask(bench.url, "UPDATE ingestd.cursors SET next_offset = %s WHERE partition = %s", offset, partition)
    bench.claim(sorted(bench.writer.epochs))


def rows_of(bench: Bench, *columns: str) -> list[Any]:
    """The table in key order."""
    names = ", ".join(f'"{column}"' for column in columns)
    return ask(bench.url, f"SELECT {names} FROM {bench.pipeline.table.name} ORDER BY 1")


def on_disk(bench: Bench, table: str = "t") -> list[Any]:
    """Every row with its place and its writer: equal only when no row was written since."""
    return ask(bench.url, f"SELECT ctid::text, xmin::text, r::text FROM {table} r ORDER BY 1")


def counted(bench: Bench) -> Counts:
    """All that was counted since the start, or since the last rewind, over all partitions."""
    names = msgspec.structs.fields(Counts)
    sums = ", ".join(f"sum({field.name})::bigint" for field in names)
    return Counts(*ask(bench.url, f"SELECT {sums} FROM ingestd.cursors")[0])
