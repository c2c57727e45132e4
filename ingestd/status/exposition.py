"""/metrics: the table of metrics filled from a snapshot, for the Prometheus client. Knows nothing of HTTP."""

import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ingestd import __version__
from ingestd.board import AGE_BUCKETS_SECS, LaneState
from ingestd.metrics import METRICS, PREFIX, Metric
from ingestd.status.lake import lake_lag
from ingestd.status.sampler import Child, Reading, Snapshot

_FAMILIES: Mapping[str, Callable[..., Family]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_PAGE_BYTES = resource.getpagesize()

Values = Mapping[str, float | None]
"""Value by the extra label ("" without one); None is "not known" and gives no sample."""


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return None


def _state(reading: Reading) -> Values:
    return {state.name.lower(): float(reading.state is state) for state in LaneState}


_PARTITION_READINGS: Mapping[str, Callable[[Reading], Values]] = {
    "lag_records": lambda reading: {"": reading.lag_records},
    "lag_secs": lambda reading: {"": reading.lag_secs},
    "lake_lag_records": lambda reading: {"": lake_lag(reading)},
    "stalled_secs": lambda reading: {"": reading.stalled_secs if reading.held else 0.0},
    "state": _state,
}
_CHILD_READINGS: Mapping[str, Callable[[Child], Values]] = {
    "up": lambda child: {"": float(child.pid > 0)},
    "heartbeat_age_secs": lambda child: {"": child.beat_age_secs if child.pid else None},
    "rss_bytes": lambda child: {"": resident_bytes(child.pid) if child.pid else None},
    "starts": lambda child: {"": child.starts},
}
_DAEMON_READINGS: Mapping[str, Callable[[Snapshot], Values]] = {
    "assigned_partitions": lambda snapshot: {"": sum(reading.held for reading in snapshot.readings)},
    "build": lambda _: {__version__: 1.0},
}


class BoardCollector(Collector):
    """The Prometheus client's port to the newest snapshot."""

    def __init__(self, snapshot: Callable[[], Snapshot]):
        self._snapshot = snapshot

    def collect(self) -> Iterable[Family]:
        snapshot = self._snapshot()
        return [_family(metric, snapshot) for metric in METRICS]


def _family(metric: Metric, snapshot: Snapshot) -> Family:
    family = _FAMILIES[metric.kind](PREFIX + metric.name, metric.help, labels=metric.labels)
    if metric.kind == "histogram":
        for reading in snapshot.readings:
            _add_histogram(family, metric, reading)
        return family
    for labels, values in _samples(metric, snapshot):
        for extra, value in values.items():
            if value is not None:
                family.add_metric([*labels, extra] if metric.by else labels, value)  # type: ignore[attr-defined]
    return family


def _partition_labels(reading: Reading) -> list[str]:
    return [reading.pipeline, reading.topic, str(reading.partition)]


def _samples(metric: Metric, snapshot: Snapshot) -> Iterator[tuple[list[str], Values]]:
    if metric.scope == "daemon":
        yield [], _DAEMON_READINGS[metric.reading or ""](snapshot)
    elif metric.scope == "child":
        for child in snapshot.children:
            yield [child.name], _CHILD_READINGS[metric.reading or ""](child)
    else:
        for reading in snapshot.readings:
            values = _PARTITION_READINGS[metric.reading](reading) if metric.reading else _cells(metric, reading)
            yield _partition_labels(reading), values


def _cells(metric: Metric, reading: Reading) -> Values:
    values: dict[str, float | None] = {}
    for extra, cell in metric.cells.items():
        raw = reading.cells[cell]
        values[extra] = None if raw == metric.unknown else raw * metric.scale
    return values


def _add_histogram(family: Family, metric: Metric, reading: Reading) -> None:
    first = metric.cells["bucket_0"]
    buckets, count = [], 0
    for index, bound in enumerate([*map(repr, AGE_BUCKETS_SECS), "+Inf"]):
        count += reading.cells[first + index]
        buckets.append((bound, float(count)))
    total = reading.cells[metric.cells["sum"]] * metric.scale
    family.add_metric(_partition_labels(reading), buckets, sum_value=total)  # type: ignore[attr-defined]
