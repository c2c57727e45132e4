"""docs/metrics.md, rendered from the table of metrics. Knows only that table."""

from ingestd.board import AGE_BUCKETS_SECS
from ingestd.metrics import METRICS, PREFIX, Metric

_HEAD = """# Metrics

Generated from `ingestd/metrics.py`; do not edit.
`GET /metrics` of the status page serves them in the Prometheus text format (OpenMetrics when asked for).
A value that is not known has no sample: `ingestd_lag_records` is absent, not 0, until cursor and log end are known.
Counters belong to the running daemon: they survive the restart of a worker and start at 0 with the daemon.
Values are at most one second old.

| metric | kind | labels | meaning |
|---|---|---|---|
"""

_TAIL = """
Buckets of `{prefix}record_age_seconds`: {buckets} seconds.

Questions they answer:

| question | PromQL |
|---|---|
| How fast? | `sum by (pipeline) (rate(ingestd_rows_inserted_total[1m]))` |
| How far behind? | `sum by (pipeline) (ingestd_lag_records)`, `max by (pipeline) (ingestd_lag_seconds)` |
| Is the database the limit? | `rate(ingestd_backpressure_seconds_total[1m])`: near 1: reading waits for writing |
| Where does the time go? | `sum by (stage) (rate(ingestd_stage_seconds_total[1m]))` |
| Does a partition stand still? | `ingestd_stalled_seconds > 60 or ingestd_partition_state{{state="halted"}} == 1` |
| Are records refused? | `rate(ingestd_dead_letters_total[5m]) > 0` |
"""


def _line(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    return f"| `{PREFIX}{metric.name}` | {metric.kind} | {labels} | {metric.help} |\n"


def render() -> str:
    """The whole page, as docs/metrics.md must be."""
    buckets = ", ".join(f"{bound:g}" for bound in AGE_BUCKETS_SECS)
    return _HEAD + "".join(map(_line, METRICS)) + _TAIL.format(prefix=PREFIX, buckets=buckets)
