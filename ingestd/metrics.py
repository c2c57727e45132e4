"""Every metric of ingestd in one table: name with its unit, kind, labels, help, and the board cell it comes from.

Knows nothing of HTTP and of the Prometheus client; `readings` are named here and computed by the status process.
"""

from typing import Literal

from msgspec import Struct

from ingestd.board import Lane

PREFIX = "ingestd_"

Scope = Literal["partition", "child", "daemon"]

LABELS: dict[Scope, tuple[str, ...]] = {
    "partition": ("pipeline", "topic", "partition"),
    "child": ("child",),
    "daemon": (),
}
"""Labels of every metric of a scope; a metric with `by` has that label as well."""

NANO = 1e-9
MILLI = 1e-3


class Metric(Struct, frozen=True, kw_only=True):
    """One metric. Its value is `cells` x `scale`, or the reading of that name."""

    name: str
    """As it is exposed, without the prefix; counters end in _total."""
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    scope: Scope = "partition"
    by: str | None = None
    """One more label, whose values are the keys of `cells` (or of the reading, when that gives several)."""
    cells: dict[str, Lane] = {}
    reading: str | None = None
    scale: float = 1.0
    unknown: int | None = None
    """The cell's value that means "not known": no sample is exposed then, never a wrong 0."""

    @property
    def labels(self) -> tuple[str, ...]:
        return LABELS[self.scope] + ((self.by,) if self.by else ())


def _counter(name: str, cell: Lane, text: str, scale: float = 1.0) -> Metric:
    return Metric(name=name, kind="counter", help=text, cells={"": cell}, scale=scale)


def _gauge(name: str, cell: Lane, text: str, scale: float = 1.0, unknown: int | None = None) -> Metric:
    return Metric(name=name, kind="gauge", help=text, cells={"": cell}, scale=scale, unknown=unknown)


METRICS: tuple[Metric, ...] = (
    _counter(
        "records_total",
        Lane.RECORDS,
        "Records committed, whatever became of them: inserted, updated, stale, dead and so on.",
    ),
    _counter("rows_inserted_total", Lane.INSERTED, "Rows written to the table."),
    _counter("duplicates_total", Lane.DUPLICATES, "Records whose key was in the table already; nothing changed."),
    _counter("rows_updated_total", Lane.UPDATED, "Records that replaced the row of their key."),
    _counter("stale_total", Lane.STALE, "Records older than the row of their key, or replayed; nothing changed."),
    _counter("folded_total", Lane.FOLDED, "Records replaced by a later one of the same key in the same batch."),
    _counter("deletes_total", Lane.DELETED, "Records that deleted the row of their key, or found none."),
    _counter(
        "passed_total", Lane.PASSED, "Good records that no table takes: of a lake only, or with nothing to store."
    ),
    _counter("dead_letters_total", Lane.DEAD, "Records refused and kept in ingestd.dead_letters."),
    _counter("payload_bytes_total", Lane.BYTES, "Payload bytes of the committed records."),
    _counter("commits_total", Lane.BATCHES, "Batches committed, empty ones included."),
    Metric(
        name="batches_total",
        kind="counter",
        help=(
            "Batches by the way their rows went in: direct (COPY into the table), staged (COPY and INSERT), "
            "screened (the same without what CHECK constraints refuse), looped (block by block in the server)."
        ),
        by="way",
        cells={
            "direct": Lane.DIRECT_BATCHES,
            "staged": Lane.STAGED_BATCHES,
            "screened": Lane.SCREENED_BATCHES,
            "looped": Lane.LOOPED_BATCHES,
        },
    ),
    _counter("retries_total", Lane.RETRIES, "Batches given up for the environment's fault and tried again."),
    _counter("pauses_total", Lane.PAUSES, "How often reading stopped because writing was behind."),
    _counter(
        "backpressure_seconds_total",
        Lane.BACKPRESSURE_NS,
        "Time in which reading stood still because writing was behind; its rate is the share of time, 0 to 1.",
        NANO,
    ),
    _gauge("queued_rows", Lane.QUEUED_ROWS, "Decoded rows that wait for the writer."),
    _gauge("queued_bytes", Lane.QUEUED_BYTES, "Payload bytes of the rows that wait for the writer."),
    Metric(
        name="stage_seconds_total",
        kind="counter",
        help="Time spent by stage: decode, encode (join, sort, binary form), write (statements), commit.",
        by="stage",
        cells={
            "decode": Lane.DECODE_NS,
            "encode": Lane.ENCODE_NS,
            "write": Lane.WRITE_NS,
            "commit": Lane.COMMIT_NS,
        },
        scale=NANO,
    ),
    Metric(
        name="record_age_seconds",
        kind="histogram",
        help="Age of a batch's newest record (by its Kafka timestamp) when the batch was committed.",
        cells={"sum": Lane.AGE_SUM_NS, "count": Lane.AGE_COUNT, "bucket_0": Lane.AGE_BUCKET_0},
        scale=NANO,
    ),
    _gauge("next_offset", Lane.NEXT_OFFSET, "Committed cursor: the next offset to read.", unknown=-1),
    _gauge("log_end_offset", Lane.LOG_END, "End of the partition: its last stable offset.", unknown=-1),
    Metric(
        name="lag_records",
        kind="gauge",
        help="Records between the committed cursor and the log end; absent while either is unknown.",
        reading="lag_records",
    ),
    Metric(
        name="lag_seconds",
        kind="gauge",
        help="0 when caught up, else the age of the newest committed record, at most the time since it was caught up.",
        reading="lag_secs",
    ),
    Metric(
        name="stalled_seconds",
        kind="gauge",
        help="How long the partition has had lag and committed nothing; /readyz fails beyond status.stalled_after.",
        reading="stalled_secs",
    ),
    Metric(
        name="partition_state",
        kind="gauge",
        help="1 for the state the partition is in on this host, 0 for the others.",
        by="state",
        reading="state",
    ),
    _gauge("lease_epoch", Lane.EPOCH, "Number of this host's lease on the partition.", unknown=0),
    _gauge("last_commit_timestamp_seconds", Lane.LAST_COMMIT_NS, "When the last batch was committed.", NANO, unknown=0),
    _gauge(
        "last_record_timestamp_seconds",
        Lane.LAST_RECORD_MS,
        "Kafka timestamp of the newest committed record.",
        MILLI,
        unknown=0,
    ),
    _gauge("lake_next_offset", Lane.LAKE_OFFSET, "Committed cursor of the lake: records below are in it.", unknown=-1),
    Metric(
        name="lake_lag_records",
        kind="gauge",
        help="Records between the lake's cursor and the log end; absent without a lake.",
        reading="lake_lag_records",
    ),
    _gauge(
        "lake_open_rows",
        Lane.LAKE_OPEN_ROWS,
        "Rows in files that are not committed; of a worker of several partitions shown at the first.",
    ),
    _counter("lake_files_total", Lane.LAKE_FILES, "Files committed to the lake."),
    _counter("lake_rows_total", Lane.LAKE_ROWS, "Rows in the files committed to the lake."),
    _counter("lake_bytes_total", Lane.LAKE_BYTES, "Bytes of the files committed to the lake."),
    _gauge(
        "lake_last_roll_timestamp_seconds",
        Lane.LAKE_ROLLED_NS,
        "When files were committed to the lake last.",
        NANO,
        unknown=0,
    ),
    Metric(
        name="child_up",
        kind="gauge",
        scope="child",
        help="1 while a child process runs in the slot (membership, status, worker-N), 0 when it is gone.",
        reading="up",
    ),
    Metric(
        name="child_heartbeat_age_seconds",
        kind="gauge",
        scope="child",
        help="Time since the work loop of the child last turned.",
        reading="heartbeat_age_secs",
    ),
    Metric(
        name="child_resident_memory_bytes",
        kind="gauge",
        scope="child",
        help="Resident memory of the child, read when scraped.",
        reading="rss_bytes",
    ),
    Metric(
        name="child_starts_total",
        kind="counter",
        scope="child",
        help="Processes seen in the slot since the status process started; more than 1 is a restart.",
        reading="starts",
    ),
    Metric(
        name="assigned_partitions",
        kind="gauge",
        scope="daemon",
        help="Partitions that this host holds.",
        reading="assigned_partitions",
    ),
    Metric(
        name="build_info",
        kind="gauge",
        scope="daemon",
        help="Always 1; the label says which version runs.",
        by="version",
        reading="build",
    ),
)
