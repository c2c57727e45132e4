"""The options of a pipeline's lake. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.types import Bytes, Options, Secs


class Roll(Options, frozen=True, kw_only=True):
    """When the open files are closed, committed and shown: whichever comes first."""

    max_rows: Annotated[int, Meta(ge=1, description="Rows of a partition's open files together.")] = 1_000_000
    max_bytes: Annotated[Bytes, Meta(description="Bytes written to a partition's open files together.")] = Bytes(
        128 * 1024 * 1024
    )
    max_age: Annotated[
        Secs, Meta(description="Age of the oldest row that is not committed: how late a row may be seen.")
    ] = Secs(60)


class Compaction(Options, frozen=True, kw_only=True):
    """How small files become larger ones."""

    target_bytes: Annotated[
        Bytes, Meta(description="Files smaller than half of this are merged into files of about this size.")
    ] = Bytes(128 * 1024 * 1024)
    min_files: Annotated[
        int, Meta(ge=2, description="A directory with fewer small files than this is left as it is.")
    ] = 4
    every: Annotated[
        Secs | None,
        Meta(
            description="How often the keeper looks for small files; default: never, only `ingestd lake compact` does."
        ),
    ] = None
    into: Annotated[
        str | None,
        Meta(
            description='Leave the files as they are and write, for every value of the first partition column, one "events_compacted.parquet" below this directory; for a bronze lake whose raw files must not change.'
        ),
    ] = None
    readers: Annotated[
        Literal["any", "manifest"],
        Meta(
            description='Who reads the lake: "any" protects plain globs too and works on local paths only; "manifest" (needed on S3) promises right counts to those who read through ingestd alone.'
        ),
    ] = "any"


class Lake(Options, frozen=True, kw_only=True):
    """Parquet files of all good records, with a cursor of their own."""

    path: Annotated[
        str,
        Meta(
            min_length=1,
            description='Root of the lake: a directory (relative to the working directory), or "s3://bucket/prefix"; endpoint, region and credentials of S3 by the usual AWS settings.',
        ),
    ]
    partition_by: Annotated[
        tuple[str, ...],
        Meta(
            description='Hive partitions: columns, and year(c), month(c), day(c), hour(c) or date(c) of a timestamp (UTC): ["category", "year(ts)"] makes category=x/year=2026/.'
        ),
    ] = ()
    sort_by: Annotated[
        tuple[str, ...], Meta(description="Columns by which the rows of every row group are sorted.")
    ] = ()
    columns: Annotated[tuple[str, ...], Meta(description="Columns of the files; default: all that are stored.")] = ()
    compression: Annotated[Literal["zstd", "snappy", "none"], Meta(description="Codec of the Parquet pages.")] = "zstd"
    roll: Roll = Roll()
    max_open_files: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="Files that a worker keeps open; beyond it the one that waited longest is finished, and its directory gets another one.",
        ),
    ] = 64
    buffer: Annotated[Bytes, Meta(description="Memory of a worker for rows that are not yet in a file.")] = Bytes(
        64 * 1024 * 1024
    )
    compact: Compaction = Compaction()
    retention: Annotated[
        Secs | None,
        Meta(description="Files whose newest row was committed longer ago than this are removed; default: never."),
    ] = None
    ducklake: Annotated[
        str | None,
        Meta(
            description="Also keep a DuckLake catalogue in the store, in this schema of PostgreSQL (an SQLite store has it in its own file): a snapshot for every roll, committed in the same transaction. Pipelines may share one.",
        ),
    ] = None
