"""The options of how `ingestd query` shows a table. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.types import Options


class QueryColumn(Options, frozen=True, kw_only=True):
    """One column as `ingestd query` shows it."""

    name: Annotated[str, Meta(min_length=1, description="Column of the table.")]
    label: Annotated[str | None, Meta(description="Heading; default: the column's name.")] = None
    format: Annotated[
        Literal["utc"] | None,
        Meta(description='"utc": a time, or seconds since 1970, as 2026-01-21 18:55:00Z. Default: as it is.'),
    ] = None


class Query(Options, frozen=True, kw_only=True):
    """What `ingestd query` shows of this pipeline's table when it is not told otherwise."""

    column: Annotated[tuple[QueryColumn, ...], Meta(min_length=1, description="The columns, from left to right.")]
    order: Annotated[tuple[str, ...], Meta(description="Columns to sort by; default: the table's key.")] = ()
