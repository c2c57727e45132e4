"""The lake on the pages: what is committed, what is open, how far it is behind. Knows nothing of HTTP."""

from typing import Annotated

from msgspec import Meta, Struct

from ingestd.board import Lane
from ingestd.config.options import Pipeline
from ingestd.status.lag import lag_records
from ingestd.status.sampler import Reading


class LakeView(Struct, frozen=True, kw_only=True):
    """The lake of a pipeline, over the partitions that this host holds (counters: over all it ever held)."""

    path: Annotated[str, Meta(description="Its root, as configured.")]
    lag_records: Annotated[
        int | None, Meta(description="Records between its cursors and the log ends; null when none is known.")
    ]
    open_rows: Annotated[int, Meta(description="Rows in files that are not committed.")]
    files: Annotated[int, Meta(description="Files committed since the daemon started.")]
    rows: Annotated[int, Meta(description="Rows in them.")]
    file_bytes: Annotated[int, Meta(description="Their bytes.")]
    last_roll_ms: Annotated[int | None, Meta(description="When files were committed last, ms since 1970 UTC.")]


def lake_next_offset(reading: Reading) -> int | None:
    """The lake's cursor in one partition; None where there is no lake, or it is not known yet."""
    offset = reading.cells[Lane.LAKE_OFFSET]
    return None if offset < 0 else offset


def lake_lag(reading: Reading) -> int | None:
    """Records between the lake's cursor and the log end; None where there is no lake, or it is another host's."""
    return lag_records(reading.cells[Lane.LAKE_OFFSET], reading.cells[Lane.LOG_END]) if reading.held else None


def lake_view(pipeline: Pipeline, readings: list[Reading]) -> LakeView | None:
    """The sums of the pipeline's partitions; None when it has no lake."""
    if pipeline.lake is None:
        return None
    lags = [lag for reading in readings if (lag := lake_lag(reading)) is not None]

    def count(cell: Lane) -> int:
        return sum(reading.cells[cell] for reading in readings)

    rolled_ms = max((reading.cells[Lane.LAKE_ROLLED_NS] for reading in readings), default=0) // 1_000_000
    return LakeView(
        path=pipeline.lake.path,
        lag_records=sum(lags) if lags else None,
        open_rows=sum(reading.cells[Lane.LAKE_OPEN_ROWS] for reading in readings if reading.held),
        files=count(Lane.LAKE_FILES),
        rows=count(Lane.LAKE_ROWS),
        file_bytes=count(Lane.LAKE_BYTES),
        last_roll_ms=rolled_ms or None,
    )
