"""Batches stay tilings, whatever is joined, split and sorted."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.batch import Rows, Tile
from ingestd.rows import join, split
from ingestd.sinks.postgres.encode import encode
from tests.sinks.contracts import MemoryRecord, decoded, pipeline_of

_PIPELINE = pipeline_of({"id": "int4", "note": "text"})

# Per partition a run of offsets: good record, refused record, hole.
_LOGS = st.lists(st.text("rb.", min_size=1, max_size=12), min_size=1, max_size=3)


def _rows(logs: list[str], start: int = 0) -> Rows:
    records = [
        MemoryRecord(b'{"id":%d}' % (start + n) if letter == "r" else b"bad", start + n, p)
        for p, log in enumerate(logs)
        for n, letter in enumerate(log)
        if letter != "."
    ]
    return decoded(_PIPELINE, records, [Tile(p, start, start + len(log)) for p, log in enumerate(logs)])


def _places(rows: Rows) -> list[tuple[int, int]]:
    return sorted([(r.partition(), r.offset()) for r in rows.records] + [(d.partition, d.offset) for d in rows.dead])


def _consistent(rows: Rows) -> None:
    assert rows.columns.num_rows == len(rows.records)
    assert rows.columns.column("id").to_pylist() == [r.offset() for r in rows.records]
    ranges = {tile.partition: tile for tile in rows.tiles}
    assert all(ranges[p].start <= offset < ranges[p].end for p, offset in _places(rows))


@given(_LOGS)
def test_halves_tile_what_was_split_down_to_single_records(logs: list[str]) -> None:
    whole = _rows(logs)
    leaves, todo = [], [whole]
    while todo:
        rows = todo.pop()
        _consistent(rows)
        if len(rows.records) + len(rows.dead) < 2:
            leaves.append(rows)
            continue
        first, second = split(rows)
        assert len(_places(first)) < len(_places(rows)) > len(_places(second))
        todo += [second, first]
    assert sorted(place for leaf in leaves for place in _places(leaf)) == _places(whole)
    for tile in whole.tiles:
        mine = [t for leaf in leaves for t in leaf.tiles if t.partition == tile.partition]
        assert [t.start for t in mine] == [tile.start, *(t.end for t in mine[:-1])]
        assert mine[-1].end == tile.end


@given(st.lists(_LOGS, min_size=1, max_size=4))
def test_joined_chunks_are_one_tile_a_partition(chunks: list[list[str]]) -> None:
    width = max(len(log) for logs in chunks for log in logs)
    partitions = max(len(logs) for logs in chunks)
    filled = [[log.ljust(width, ".") for log in [*logs, *[""] * (partitions - len(logs))]] for logs in chunks]
    parts = [_rows(logs, n * width) for n, logs in enumerate(filled)]
    joined = join(parts)
    assert _places(joined) == sorted(place for part in parts for place in _places(part))
    assert joined.columns.num_rows == len(joined.records)
    assert joined.columns.column("id").to_pylist() == [r.offset() for r in joined.records]
    for p in range(partitions):
        assert [t for t in joined.tiles if t.partition == p] == [Tile(p, 0, len(chunks) * width)]


def test_chunks_that_do_not_meet_are_not_joined() -> None:
    """A gap would be committed over."""
    with pytest.raises(ValueError, match="0"):
        join([_rows(["rr"]), _rows(["rr"], 3)])


@given(st.lists(st.tuples(st.integers(-5, 5) | st.none(), st.text("aZé\U0001f600", max_size=3)), max_size=40))
def test_row_of_the_copy_is_traced_to_its_record(pairs: list[tuple[int | None, str]]) -> None:
    records = [MemoryRecord(b"", n) for n in range(len(pairs))]
    columns = pa.record_batch(
        {"id": pa.array([i for i, _ in pairs], pa.int32()), "note": pa.array([t for _, t in pairs], pa.string())}
    )
    sorted_rows: list[pa.RecordBatch] = []

    def encoder(batch: pa.RecordBatch) -> list[bytes]:
        sorted_rows.append(batch)
        return [b""]

    rows = Rows([Tile(0, 0, len(pairs))], columns, records, [], 0)
    batch = encode(rows, ("note", "id"), encoder, rows.columns.schema.names)
    if not pairs:
        assert batch.count == 0
        return
    rebuilt = [(row["id"], row["note"]) for row in sorted_rows[0].to_pylist()]
    assert rebuilt == [pairs[batch.record(n).offset()] for n in range(len(pairs))]
    keys = [(note.encode(), i is None, i or 0, batch.record(n).offset()) for n, (i, note) in enumerate(rebuilt)]
    assert keys == sorted(keys)
    complete = [(i, note) for i, note in pairs if i is not None]
    assert batch.repeats == (len(set(complete)) < len(complete))


def test_batch_with_other_rows_than_records_is_never_committed() -> None:
    columns = pa.record_batch({"id": pa.array([1], pa.int32())})
    with pytest.raises(ValueError, match="1 rows of 2 records"):
        encode(
            Rows([Tile(0, 0, 2)], columns, [MemoryRecord(b"", 0), MemoryRecord(b"", 1)], [], 0),
            (),
            lambda _: [b""],
            ["id"],
        )
