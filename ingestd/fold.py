"""One row for each key out of a batch: what a replay of its records, one by one, would leave. Knows no database.

Records of a key come in the order of (partition, offset). One that is older than what came before it contributes
nothing; a hard delete forgets what came before it; a record without a field leaves the field as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, structs
from numpy.typing import NDArray

from ingestd.batch import DELETES, Rows, presence_of
from ingestd.rows import Flags, Ints, arrival, first_of_key, flags_of, key_order, places


class Folded(Struct):
    """A batch with one row for each key, sorted by key: bytes order for text, COLLATE "C" in SQL."""

    rows: Rows
    """`records[i]` is the latest of the key of row i. A presence column that is false says: leave as it is."""
    folded: int
    """Records that are no row of their own: replaced by a later one, or older than one of the same batch."""
    partitions: pa.Int32Array
    """Of `rows.records`."""
    offsets: pa.Int64Array
    chained: Flags
    """Rows whose values come from several records: right only when none of these is older than the stored row."""
    members: Ints
    """The row here of each record of the batch that was folded."""


class _Groups(Struct):
    """The records in order of key, partition, offset; all arrays are in that order, but `last`: by key."""

    order: Ints
    """Row of the batch."""
    key: Ints
    """Number of the key."""
    applied: Flags
    """Not older than a record before it."""
    last: Ints
    """Position of the last applied record of each key."""


def fold(
    rows: Rows,
    key: Sequence[str],
    version: Sequence[str] = (),
    *,
    keep: Collection[str] | None = None,
    soft: bool = False,
) -> Folded:
    """One row for each key, equal to a replay of the records in order; null is the oldest version, () the offset.

    `keep` are the columns that an upsert without their field leaves as they are; the others it writes. None: all
    that have a presence column. Key and version are always written, null where the field is absent.
    `soft`: a delete writes what it has and keeps the rest; otherwise it forgets all.
    Of equal versions the later offset wins within a partition, the higher partition across partitions.
    """
    columns = rows.columns
    partitions, offsets = places(rows)
    if not columns.num_rows:
        nothing = np.zeros(0, np.int64)
        return Folded(rows, 0, pa.array(partitions), pa.array(offsets), np.zeros(0, np.bool_), nothing)
    groups = _groups(columns, key, version, partitions, offsets)
    chosen = groups.order[groups.last]
    present = {name: _present(columns, name, keep, (*key, *version)) for name in _with_presence(columns)}
    if len(chosen) == columns.num_rows:
        chained = np.zeros(len(chosen), np.bool_)
        arrays = {presence_of(name): pa.array(flags[chosen]) for name, flags in present.items()}
    else:
        arrays, chained = _merge(columns, groups, present, soft)
    taken = columns.take(pa.array(chosen))
    merged = [arrays.get(name, taken.column(at)) for at, name in enumerate(columns.schema.names)]
    members = np.empty(columns.num_rows, np.int64)
    members[groups.order] = groups.key
    return Folded(
        rows=structs.replace(
            rows,
            columns=pa.RecordBatch.from_arrays(merged, schema=columns.schema),
            records=_take(rows.records, chosen),
        ),
        folded=columns.num_rows - len(chosen),
        partitions=pa.array(partitions[chosen]),
        offsets=pa.array(offsets[chosen]),
        chained=chained,
        members=members,
    )


def _groups(
    columns: pa.RecordBatch, key: Sequence[str], version: Sequence[str], partitions: NDArray[np.int32], offsets: Ints
) -> _Groups:
    order = key_order(columns, key, arrival(partitions, offsets))
    first = first_of_key(columns.select(list(key)).take(pa.array(order)), key)
    number = np.cumsum(first) - 1
    applied = np.ones(len(number), np.bool_)
    if version and not first.all():
        ranks = _version_ranks(columns, version)[order]
        # Keys ascend, so the running maximum never reaches over from the key before.
        standing = number * (int(ranks.max()) + 1) + ranks
        applied = standing == np.maximum.accumulate(standing)
    at = np.flatnonzero(applied)
    last = at[np.append(number[at][1:] != number[at][:-1], True)]
    return _Groups(order, number, applied, last)


def _version_ranks(columns: pa.RecordBatch, version: Sequence[str]) -> Ints:
    """A number for each row that orders as its version does; equal versions have equal numbers."""
    ranks = _ranks(columns.column(version[0]))
    for name in version[1:]:
        finer = _ranks(columns.column(name))
        ranks = np.unique(ranks * (int(finer.max()) + 1) + finer, return_inverse=True)[1].astype(np.int64)
    return ranks


def _ranks(column: Any) -> Ints:
    """Dense ranks from 1; null is 0."""
    if pa.types.is_floating(column.type):
        # NaN is the greatest in a database, and least but null in Arrow.
        ranks = np.unique(column.fill_null(0).to_numpy(zero_copy_only=False), return_inverse=True)[1] + 1
    else:
        ranks = pc.rank(column, tiebreaker="dense").to_numpy()
    return np.where(column.is_null().to_numpy(zero_copy_only=False), 0, ranks).astype(np.int64)


def _with_presence(columns: pa.RecordBatch) -> list[str]:
    names = columns.schema.names
    return [name for name in names if presence_of(name) in names]


def _present(columns: pa.RecordBatch, name: str, keep: Collection[str] | None, always: Collection[str]) -> Flags:
    """Whether each record writes the column: it has the field, or it is an upsert of a column that is not kept."""
    if name in always:
        return np.ones(columns.num_rows, np.bool_)
    flags = flags_of(columns, presence_of(name))
    if keep is None or name in keep:
        return flags
    return flags | ~flags_of(columns, DELETES)


def _merge(
    columns: pa.RecordBatch, groups: _Groups, present: dict[str, Flags], soft: bool
) -> tuple[dict[str, pa.Array], Flags]:
    """Values and presence of the columns that a record may leave as they are, and which keys took from several."""
    arrays: dict[str, pa.Array] = {}
    chained = np.zeros(len(groups.last), np.bool_)
    if not present:
        return arrays, chained
    counted, begins = groups.applied, np.zeros(len(groups.order), np.bool_)
    if not soft:
        counted, begins = _since_delete(columns, groups)
    for name, flags in present.items():
        written = flags[groups.order]
        sources = np.flatnonzero(counted & (written | begins))
        chosen = groups.last.copy()
        chosen[groups.key[sources]] = sources  # ascending: the last one of each key stays
        has = np.zeros(len(chosen), np.bool_)
        has[groups.key[sources]] = True
        chained |= (chosen != groups.last) | (has != written[groups.last])
        arrays[name] = columns.column(name).take(pa.array(groups.order[chosen]))
        arrays[presence_of(name)] = pa.array(has)
    return arrays, chained


def _since_delete(columns: pa.RecordBatch, groups: _Groups) -> tuple[Flags, Flags]:
    """The applied records behind the last applied delete of their key, and the first of those: it writes all."""
    deletes = np.flatnonzero(groups.applied & flags_of(columns, DELETES)[groups.order])
    deleted_at = np.full(len(groups.last), -1)
    deleted_at[groups.key[deletes]] = deletes
    since = groups.applied & (np.arange(len(groups.order)) > deleted_at[groups.key])
    begins = np.zeros(len(groups.order), np.bool_)
    live = np.flatnonzero(since)
    first = np.append(True, groups.key[live][1:] != groups.key[live][:-1])[: len(live)]
    begins[live[first]] = True
    begins &= deleted_at[groups.key] >= 0
    return since, begins


def _take(records: Sequence[Any], rows: Ints) -> Sequence[Any]:
    picked = rows.tolist()
    if len(picked) == 1:
        return [records[picked[0]]]
    return list(itemgetter(*picked)(records))
