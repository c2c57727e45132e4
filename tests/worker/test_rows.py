"""Batches joined, split and filtered: every record stays in exactly one of them."""

import pyarrow as pa

from ingestd.batch import DeadLetter, Rows, Tile
from ingestd.rows import join, only, split, without
from tests.sinks.contracts import MemoryRecord


def _rows(start: int, dead: int, ignored: int) -> Rows:
    """Five offsets of partition 3; two of them are a dead letter and a record with nothing to store."""
    good = [at for at in range(start, start + 5) if at not in (dead, ignored)]
    return Rows(
        [Tile(3, start, start + 5)],
        pa.RecordBatch.from_pydict({"n": good}),
        [MemoryRecord(b"", at, 3) for at in good],
        [DeadLetter(3, dead, None, b"", None, 0, "decode", None, "bad")],
        0,
        ignored=[(3, ignored)],
    )


def _offsets(rows: Rows) -> list[int]:
    places = [record.offset() for record in rows.records] + [letter.offset for letter in rows.dead]
    return sorted(places + [offset for _, offset in rows.ignored])


def test_no_record_is_lost_or_doubled_by_joining_and_splitting() -> None:
    joined = join([_rows(10, 11, 12), _rows(15, 18, 16)])
    assert joined.ignored == [(3, 12), (3, 16)]
    assert _offsets(joined) == list(range(10, 20))
    first, second = split(joined)
    assert [*_offsets(first), *_offsets(second)] == list(range(10, 20))
    assert first.tiles[0].end == second.tiles[0].start
    assert all(first.tiles[0].start <= offset < first.tiles[0].end for offset in _offsets(first))


def test_records_with_nothing_to_store_stay_when_rows_go() -> None:
    rows = _rows(10, 11, 12)
    refused = DeadLetter(3, 13, None, b"", None, 0, "write", None, "bad")
    assert without(rows, [refused]).ignored == only(rows, [False] * 3).ignored == [(3, 12)]
