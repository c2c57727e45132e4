"""The JSON of /api/partitions: what each field is called and means. Knows nothing of HTTP.

docs/api.md is generated from the structs here.
"""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from ingestd import __version__, run_id
from ingestd.board import Lane, LaneState
from ingestd.config.options import Pipeline
from ingestd.status.health import Reason
from ingestd.status.lake import LakeView, lake_next_offset, lake_view
from ingestd.status.sampler import Point, Reading, Snapshot


class PartitionView(Struct, frozen=True, kw_only=True):
    """One partition of one pipeline on this host."""

    topic: Annotated[str, Meta(description="Its topic.")]
    table: Annotated[str, Meta(description="The table that its records fill; empty when there is only a lake.")]
    partition: Annotated[int, Meta(description="Number of the Kafka partition.")]
    state: Annotated[str, Meta(description="unassigned, claiming, running, retrying, halted or released.")]
    held: Annotated[bool, Meta(description="This host holds it; only these count in totals.")]
    next_offset: Annotated[int | None, Meta(description="Committed cursor: the next offset to read.")]
    lake_next_offset: Annotated[int | None, Meta(description="Committed cursor of the lake; null without one.")]
    log_end: Annotated[int | None, Meta(description="Last stable offset of the partition.")]
    lag_records: Annotated[int | None, Meta(description="Records that wait; null while not known.")]
    lag_secs: Annotated[float | None, Meta(description="Age of the data in seconds, 0 when caught up.")]
    rows_per_sec: Annotated[float, Meta(description="Rows inserted, updated or deleted a second, over 5 s.")]
    rows_per_sec_60: Annotated[float, Meta(description="The same over 60 s.")]
    records_per_sec: Annotated[float, Meta(description="Records committed a second, over 5 s.")]
    bytes_per_sec: Annotated[float, Meta(description="Payload bytes committed a second, over 5 s.")]
    batch_ms: Annotated[
        dict[str, float],
        Meta(description="Milliseconds of a batch in decode, encode, write and commit: mean of the last busy 5 s."),
    ]
    batch_rows: Annotated[int, Meta(description="Rows of the last batch.")]
    backpressure: Annotated[
        float,
        Meta(description="Share of 5 s in which reading waited for writing, 0 to 1."),
    ]
    queued_rows: Annotated[int, Meta(description="Decoded rows that wait for the writer.")]
    records: Annotated[int, Meta(description="Records committed since the daemon started.")]
    rows: Annotated[int, Meta(description="Rows inserted since the daemon started.")]
    updated: Annotated[int, Meta(description="Rows updated since the daemon started.")]
    deleted: Annotated[int, Meta(description="Deletes since the daemon started.")]
    stale: Annotated[int, Meta(description="Records older than their row, or replayed, since the daemon started.")]
    folded: Annotated[int, Meta(description="Records replaced by a later one in their batch since the daemon started.")]
    duplicates: Annotated[int, Meta(description="Duplicates since the daemon started.")]
    passed: Annotated[int, Meta(description="Good records that no table takes, since the daemon started.")]
    dead_letters: Annotated[int, Meta(description="Dead letters since the daemon started.")]
    retries: Annotated[int, Meta(description="Retries since the daemon started.")]
    epoch: Annotated[int | None, Meta(description="Number of the lease.")]
    last_commit_ms: Annotated[int | None, Meta(description="When the last batch was committed, ms since 1970 UTC.")]
    stalled_secs: Annotated[float, Meta(description="How long there was lag and nothing was committed.")]
    error: Annotated[str | None, Meta(description="Why it retries or halted; null when all is well.")]


class HistoryView(Struct, frozen=True, kw_only=True):
    """The last five minutes, oldest first, one point a second."""

    rows_per_sec: Annotated[list[float], Meta(description="Rows inserted, updated or deleted in that second.")]
    lag_records: Annotated[list[int | None], Meta(description="Lag at that second; null while not known.")]
    backpressure: Annotated[list[float], Meta(description="The highest backpressure in that second, 0 to 1.")]


class TotalView(Struct, frozen=True, kw_only=True):
    """Sums over the partitions that this host holds (counters: over all it ever held)."""

    partitions: Annotated[int, Meta(description="Partitions held.")]
    rows_per_sec: Annotated[float, Meta(description="Rows inserted, updated or deleted a second, over 5 s.")]
    rows_per_sec_60: Annotated[float, Meta(description="The same over 60 s.")]
    records_per_sec: Annotated[float, Meta(description="Records committed a second, over 5 s.")]
    bytes_per_sec: Annotated[float, Meta(description="Payload bytes committed a second, over 5 s.")]
    lag_records: Annotated[int | None, Meta(description="Sum of the lags that are known; null when none is.")]
    lag_secs: Annotated[float | None, Meta(description="The largest lag in seconds.")]
    backpressure: Annotated[float, Meta(description="The highest backpressure of a partition, 0 to 1.")]
    records: Annotated[int, Meta(description="Records committed since the daemon started.")]
    rows: Annotated[int, Meta(description="Rows inserted since the daemon started.")]
    updated: Annotated[int, Meta(description="Rows updated since the daemon started.")]
    deleted: Annotated[int, Meta(description="Deletes since the daemon started.")]
    stale: Annotated[int, Meta(description="Records older than their row, or replayed, since the daemon started.")]
    folded: Annotated[int, Meta(description="Records replaced by a later one in their batch since the daemon started.")]
    duplicates: Annotated[int, Meta(description="Duplicates since the daemon started.")]
    passed: Annotated[int, Meta(description="Good records that no table takes, since the daemon started.")]
    dead_letters: Annotated[int, Meta(description="Dead letters since the daemon started.")]
    history: Annotated[HistoryView, Meta(description="The last five minutes.")]


class PipelineView(Struct, frozen=True, kw_only=True):
    """One pipeline with its partitions, in their order."""

    name: Annotated[str, Meta(description="Name in the configuration.")]
    topic: Annotated[str, Meta(description="Topic it reads; a list or a pattern, as configured, when there are many.")]
    table: Annotated[str, Meta(description="Table it fills, as configured; empty when there is only a lake.")]
    lake: Annotated[LakeView | None, Meta(description="Its lake; null when there is none.")]
    total: Annotated[TotalView, Meta(description="Its sums.")]
    partitions: Annotated[list[PartitionView], Meta(description="Its partitions on this host.")]


class ChildView(Struct, frozen=True, kw_only=True):
    """One process of the daemon."""

    name: Annotated[str, Meta(description="membership, status or worker-N.")]
    pid: Annotated[int | None, Meta(description="Process id; null when it is not running.")]
    heartbeat_age_secs: Annotated[float | None, Meta(description="Time since its loop last turned.")]
    starts: Annotated[int, Meta(description="Processes seen in this slot; more than 1 is a restart.")]


class StatusView(Struct, frozen=True, kw_only=True):
    """The answer of GET /api/partitions."""

    version: Annotated[str, Meta(description="Version of ingestd.")]
    run_id: Annotated[str | None, Meta(description="Id of this execution; a reload begins another.")]
    at_ms: Annotated[int, Meta(description="When the values were read, ms since 1970 UTC.")]
    ready: Annotated[bool, Meta(description="What /readyz says.")]
    reasons: Annotated[list[Reason], Meta(description="Why it is not ready.")]
    total: Annotated[TotalView, Meta(description="Sums over all pipelines.")]
    pipelines: Annotated[list[PipelineView], Meta(description="All pipelines of the configuration.")]
    children: Annotated[list[ChildView], Meta(description="The processes.")]


def status_view(snapshot: Snapshot, pipelines: Sequence[Pipeline], reasons: list[Reason]) -> StatusView:
    """The whole answer; `pipelines` in the order of the configuration."""
    by_pipeline: dict[str, list[Reading]] = {pipeline.name: [] for pipeline in pipelines}
    for reading in snapshot.readings:
        by_pipeline[reading.pipeline].append(reading)
    return StatusView(
        version=__version__,
        run_id=run.run_id if (run := run_id.current()) else None,
        at_ms=snapshot.at_ms,
        ready=not reasons,
        reasons=reasons,
        total=_total(list(snapshot.readings), snapshot.history.get("", [])),
        pipelines=[
            PipelineView(
                name=one.name,
                topic=one.topic,
                table=one.table.name,
                lake=lake_view(one, by_pipeline[one.name]),
                total=_total(by_pipeline[one.name], snapshot.history.get(one.name, [])),
                partitions=[_partition(item) for item in sorted(by_pipeline[one.name], key=_place)],
            )
            for one in pipelines
        ],
        children=[
            ChildView(
                name=child.name, pid=child.pid or None, heartbeat_age_secs=child.beat_age_secs, starts=child.starts
            )
            for child in snapshot.children
        ],
    )


def _place(reading: Reading) -> tuple[str, int]:
    return reading.topic, reading.partition


def _known(value: int, unknown: int) -> int | None:
    return None if value == unknown else value


def _partition(reading: Reading) -> PartitionView:
    cells, commit_ms = reading.cells, reading.cells[Lane.LAST_COMMIT_NS] // 1_000_000
    return PartitionView(
        topic=reading.topic,
        table=reading.table,
        partition=reading.partition,
        state=LaneState(reading.state).name.lower(),
        held=reading.held,
        next_offset=_known(cells[Lane.NEXT_OFFSET], -1),
        lake_next_offset=lake_next_offset(reading),
        log_end=_known(cells[Lane.LOG_END], -1),
        lag_records=reading.lag_records,
        lag_secs=reading.lag_secs,
        rows_per_sec=round(reading.short.rows, 1),
        rows_per_sec_60=round(reading.long.rows, 1),
        records_per_sec=round(reading.short.records, 1),
        bytes_per_sec=round(reading.short.payload_bytes, 1),
        batch_ms={stage: round(millis, 2) for stage, millis in reading.batch_ms.items()},
        batch_rows=cells[Lane.LAST_BATCH_ROWS],
        backpressure=round(reading.short.backpressure, 3),
        queued_rows=cells[Lane.QUEUED_ROWS],
        records=cells[Lane.RECORDS],
        rows=cells[Lane.INSERTED],
        updated=cells[Lane.UPDATED],
        deleted=cells[Lane.DELETED],
        stale=cells[Lane.STALE],
        folded=cells[Lane.FOLDED],
        duplicates=cells[Lane.DUPLICATES],
        passed=cells[Lane.PASSED],
        dead_letters=cells[Lane.DEAD],
        retries=cells[Lane.RETRIES],
        epoch=_known(cells[Lane.EPOCH], 0),
        last_commit_ms=_known(commit_ms, 0),
        stalled_secs=round(reading.stalled_secs, 1),
        error=reading.text or None,
    )


def _total(readings: list[Reading], history: list[Point]) -> TotalView:
    held = [reading for reading in readings if reading.held]
    lags = [reading.lag_records for reading in held if reading.lag_records is not None]
    ages = [reading.lag_secs for reading in held if reading.lag_secs is not None]

    def count(cell: Lane) -> int:
        return sum(reading.cells[cell] for reading in readings)

    def speed(field: str, window: str = "short") -> float:
        return round(sum(float(getattr(getattr(reading, window), field)) for reading in held), 3)

    return TotalView(
        partitions=len(held),
        rows_per_sec=speed("rows"),
        rows_per_sec_60=speed("rows", "long"),
        records_per_sec=speed("records"),
        bytes_per_sec=speed("payload_bytes"),
        lag_records=sum(lags) if lags else None,
        lag_secs=max(ages) if ages else None,
        backpressure=round(max((reading.short.backpressure for reading in held), default=0.0), 3),
        records=count(Lane.RECORDS),
        rows=count(Lane.INSERTED),
        updated=count(Lane.UPDATED),
        deleted=count(Lane.DELETED),
        stale=count(Lane.STALE),
        folded=count(Lane.FOLDED),
        duplicates=count(Lane.DUPLICATES),
        passed=count(Lane.PASSED),
        dead_letters=count(Lane.DEAD),
        history=HistoryView(
            rows_per_sec=[round(point.rows_per_sec, 1) for point in history],
            lag_records=[point.lag_records for point in history],
            backpressure=[round(point.backpressure, 3) for point in history],
        ),
    )
