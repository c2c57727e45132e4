"""Counts by partition: however a batch is spread over them, the sums are what the sink said."""

from collections import Counter

import pyarrow as pa
import pytest
from msgspec import structs

from ingestd.batch import Counts, Outcome, Rows, Tile
from ingestd.worker.counting import counts_by_partition
from tests.sinks.contracts import MemoryRecord


def _rows(*partitions: int) -> Rows:
    records = [MemoryRecord(b"", at, p) for at, p in enumerate(partitions)]
    tiles = [Tile(p, 0, len(records)) for p in sorted(set(partitions))]
    return Rows(tiles, pa.RecordBatch.from_pydict({"n": list(range(len(records)))}), records, [], 0)


@pytest.mark.parametrize(
    "said",
    [
        Counts(updated=2, stale=1),
        Counts(stale=1, folded=1, duplicates=1),
        Counts(inserted=1, updated=1, deleted=1),
        Counts(duplicates=3),
        Counts(inserted=3),
    ],
)
@pytest.mark.parametrize("partitions", [(0, 0, 1), (0, 1, 1), (0, 1, 2)])
def test_no_fate_becomes_another_where_a_batch_has_several_partitions(
    said: Counts, partitions: tuple[int, ...]
) -> None:
    counts = counts_by_partition(_rows(*partitions), Outcome(said, []))
    sums: Counter[str] = Counter()
    for one in counts.values():
        sums.update(structs.asdict(one))
    assert dict(sums) == {**structs.asdict(said), "records": 3}
    assert {p: one.records for p, one in counts.items()} == dict(Counter(partitions))


def test_records_with_nothing_to_store_are_delivered_and_passed_in_their_partition() -> None:
    rows = structs.replace(_rows(0, 0, 1), ignored=[(1, 8), (1, 9)])
    counts = counts_by_partition(rows, Outcome(Counts(inserted=3), []))
    assert counts == {0: Counts(records=2, inserted=2), 1: Counts(records=3, inserted=1, passed=2)}
