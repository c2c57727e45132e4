"""Any batch folded equals its records replayed one by one: upserts, deletes, partial upserts, versions of all kinds."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from ingestd.batch import DELETES, Rows, Tile, presence_of
from ingestd.fold import Folded, fold
from tests.sinks.contracts import MemoryRecord


class Change(Struct, frozen=True):
    """One record: its place, key, versions, two partial fields and one plain one; None in `kept` is an absent field."""

    partition: int
    key: int
    version: tuple[int | None, int | None]
    deletes: bool
    kept: tuple[tuple[int | None] | None, tuple[int | None] | None]
    plain: int | None
    has_plain: bool = True


_SCHEMA = pa.schema(
    [
        ("k1", pa.string()),
        ("k2", pa.int32()),
        ("v1", pa.int64()),
        ("v2", pa.float64()),
        ("a", pa.int64()),
        ("b", pa.int64()),
        ("plain", pa.int64()),
        (DELETES, pa.bool_()),
        (presence_of("a"), pa.bool_()),
        (presence_of("b"), pa.bool_()),
        (presence_of("plain"), pa.bool_()),
    ]
)
_SMALL = st.none() | st.integers(0, 2)
_FIELD = st.none() | st.tuples(_SMALL)
_CHANGE = st.builds(
    Change,
    partition=st.integers(0, 2),
    key=st.integers(0, 3),
    version=st.tuples(_SMALL, _SMALL),
    deletes=st.booleans(),
    kept=st.tuples(_FIELD, _FIELD),
    plain=st.none() | st.integers(0, 99),
    has_plain=st.booleans(),
)


def _rows(changes: Sequence[Change]) -> Rows:
    ends = dict.fromkeys((0, 1, 2), 10)
    records = []
    for change in changes:
        records.append(MemoryRecord(b"{}", ends[change.partition], change.partition))
        ends[change.partition] += 3
    values = [
        {
            # The text key ends in the integer key's parity, so that both columns matter.
            "k1": "ab"[change.key % 2],
            "k2": change.key,
            "v1": change.version[0],
            "v2": change.version[1],
            "a": change.kept[0][0] if change.kept[0] else None,
            "b": change.kept[1][0] if change.kept[1] else 7,  # a default
            "plain": change.plain if change.has_plain else None,
            DELETES: change.deletes,
            presence_of("a"): change.kept[0] is not None,
            presence_of("b"): change.kept[1] is not None,
            presence_of("plain"): change.has_plain,
        }
        for change in changes
    ]
    columns = pa.RecordBatch.from_pylist(values, schema=_SCHEMA)
    return Rows([Tile(p, 10, end) for p, end in ends.items()], columns, records, [], 2 * len(records))


_FIELDS = ("a", "b", "plain")
_DEFAULTS = {"a": None, "b": 7, "plain": None}


def _order(version: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple((-1 if part is None else part) for part in version)


def _replay(rows: Rows, version: Sequence[str], soft: bool, stored: dict[int, dict[str, Any]]) -> dict[int, Any]:
    """A table by key after the records, one by one; a hard-deleted key keeps its version and loses its fields."""
    table = {key: dict(row) for key, row in stored.items()}
    arrivals = sorted(
        zip(rows.records, rows.columns.to_pylist(), strict=True),
        key=lambda pair: (pair[0].partition(), pair[0].offset()),
    )
    for _, row in arrivals:
        key, at = row["k2"], _order(tuple(row[name] for name in version))
        found = table.get(key)
        if found is not None and found["version"] > at:
            continue
        fresh = found is None or (found["deleted"] and not soft)
        fields = dict(_DEFAULTS) if fresh else {name: found[name] for name in _FIELDS}  # type: ignore[index]
        if row[DELETES] and not soft:
            table[key] = {"version": at, "deleted": True, **_DEFAULTS}
            continue
        for name in _FIELDS:
            if row[presence_of(name)] or (name == "plain" and not row[DELETES]):
                fields[name] = row[name]
        table[key] = {"version": at, "deleted": row[DELETES], **fields}
    return table


def _apply(folded: Folded, version: Sequence[str], soft: bool, stored: dict[int, dict[str, Any]]) -> dict[int, Any]:
    """The folded rows written over `stored` as a sink does: one for each key, presence decides for each field."""
    table = {key: dict(row) for key, row in stored.items()}
    for row in folded.rows.columns.to_pylist():
        key, found = row["k2"], table.get(row["k2"])
        at = _order(tuple(row[name] for name in version))
        if row[DELETES] and not soft:
            table[key] = {"version": at, "deleted": True, **_DEFAULTS}
            continue
        blank = found is None or (found["deleted"] and not soft)
        fields = {
            name: row[name] if blank or row[presence_of(name)] else found[name]  # type: ignore[index]
            for name in _FIELDS
        }
        table[key] = {"version": at, "deleted": row[DELETES], **fields}
    return table


_ROW = st.fixed_dictionaries(
    {"deleted": st.booleans(), "a": st.integers(50, 59), "b": st.integers(60, 69), "plain": st.integers(70, 79)}
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(_CHANGE, max_size=25),
    st.sampled_from([(), ("v1",), ("v2",), ("v1", "v2")]),
    st.booleans(),
    st.dictionaries(st.integers(0, 3), _ROW),
)
@example(
    [
        Change(0, 0, (1, 0), False, ((1,), (2,)), 3),
        Change(0, 0, (2, 0), True, (None, None), None),
        Change(0, 0, (3, 0), False, (None, None), 4),
    ],
    ("v1",),
    False,
    {},
)
def test_folded_batch_equals_its_records_one_by_one(
    changes: list[Change], version: tuple[str, ...], soft: bool, stored: dict[int, dict[str, Any]]
) -> None:
    for row in stored.values():
        row["version"] = _order((None,) * len(version))  # older than all: what is stale is known before folding
        if row["deleted"] and not soft:
            row.update(_DEFAULTS)
    rows = _rows(changes)
    folded = fold(rows, ("k1", "k2"), version, keep=("a", "b"), soft=soft)
    assert _apply(folded, version, soft, stored) == _replay(rows, version, soft, stored)
    keys = [(row["k1"], row["k2"]) for row in folded.rows.columns.to_pylist()]
    assert keys == sorted(set(keys)), "one row for each key, in key order"
    assert folded.folded == len(changes) - len(keys)
    assert [(r.partition(), r.offset()) for r in folded.rows.records] == list(
        zip(folded.partitions.to_pylist(), folded.offsets.to_pylist(), strict=True)
    )
    for n, change in enumerate(changes):
        assert keys[folded.members[n]][1] == change.key


@settings(max_examples=80, deadline=None)
@given(st.lists(_CHANGE, max_size=25), st.booleans())
def test_rows_that_are_not_chained_come_from_their_record_alone(changes: list[Change], soft: bool) -> None:
    rows = _rows(changes)
    folded = fold(rows, ("k1", "k2"), ("v1",), keep=("a", "b"), soft=soft)
    at = {(r.partition(), r.offset()): n for n, r in enumerate(rows.records)}
    for n, record in enumerate(folded.rows.records):
        if folded.chained[n]:
            continue
        alone = rows.columns.slice(at[record.partition(), record.offset()], 1).to_pylist()[0]
        row = folded.rows.columns.slice(n, 1).to_pylist()[0]
        if soft and alone[DELETES]:
            assert row == alone
        elif not alone[DELETES]:
            assert row == alone | {presence_of("plain"): True}


def _one_column(kind: pa.DataType, versions: list[Any], partitions: list[int] | None = None) -> Folded:
    of = partitions or [0] * len(versions)
    records = [MemoryRecord(b"", n, of[n]) for n in range(len(versions))]
    columns = pa.record_batch({"k": pa.array(["x"] * len(versions)), "v": pa.array(versions, kind)})
    tiles = [Tile(p, 0, len(versions)) for p in sorted(set(of))]
    return fold(Rows(tiles, columns, records, [], 0), ["k"], ["v"])


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        (pa.int16(), -1, 0),
        (pa.float64(), 1e308, float("inf")),
        (pa.float64(), float("inf"), float("nan")),
        (pa.decimal128(10, 2), Decimal("9.99"), Decimal("10.00")),
        (pa.string(), "Z", "a"),
        (pa.string(), "z", "ä"),
        (pa.binary(16), b"\x00" * 16, b"\xff" * 16),
        (pa.binary(), b"a", b"ab"),
        (pa.bool_(), False, True),
        (pa.date32(), 1, 2),
        (pa.time64("us"), 1, 2),
        (pa.timestamp("us", "UTC"), -1, 1),
        (pa.timestamp("us"), 1, 2),
        (pa.float32(), None, float("-inf")),
        (pa.int64(), None, -(2**63)),
    ],
)
def test_older_version_never_wins_whatever_its_type(kind: pa.DataType, older: Any, newer: Any) -> None:
    assert _one_column(kind, [older, newer]).offsets.to_pylist() == [1]
    assert _one_column(kind, [newer, older]).offsets.to_pylist() == [0]
    assert _one_column(kind, [older, newer, newer, older]).offsets.to_pylist() == [2]
    assert _one_column(kind, [older, older]).offsets.to_pylist() == [1]


def test_chunks_of_partitions_in_any_order_end_the_same() -> None:
    assert _one_column(pa.int64(), [5, 5, 5], [1, 0, 1]).offsets.to_pylist() == [2]
    folded = _one_column(pa.int64(), [5, 5, 5], [1, 1, 0])
    assert (folded.partitions.to_pylist(), folded.offsets.to_pylist()) == ([1], [1])


def test_empty_batch_stays_empty() -> None:
    folded = _one_column(pa.int64(), [])
    assert folded.rows.columns.num_rows == folded.folded == len(folded.chained) == 0
