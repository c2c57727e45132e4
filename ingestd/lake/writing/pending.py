"""Rows that wait in memory for their files, of one tile. Knows no files and no offsets.

They stay in the batches they came in, with a number for each row's directory: rows are sorted by directory once, when
they are written, and not batch by batch (5,000 directories would make 5,000 pieces of every batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingestd.lake.writing.schema import FileSchema

Group = tuple[str, pa.Table]
"""A directory and rows of it, in the order of the files."""

_SLOT = "ingestd:slot"
_FEW = 2**16
_MOST_PIECES = 64


class Pending:
    """Rows by directory, of batches as they were decoded; `sort_by` is the order of the rows of each group.

    They become rows of files when they are taken: a uuid waits, and is sorted, as 16 bytes instead of 36.
    """

    def __init__(self, schema: FileSchema, sort_by: Sequence[str]):
        self._schema = schema
        self._sort_by = list(sort_by)
        self._batches: list[pa.RecordBatch] = []
        self._slots: list[NDArray[np.int32]] = []
        self._numbers: dict[str, int] = {}
        self._rows = np.zeros(0, np.int64)
        """By number of the directory."""
        self.rows = 0
        self.nbytes = 0

    @property
    def copies(self) -> bool:
        """Whether taking groups copies rows."""
        return bool(self._sort_by) or len(self._numbers) > 1

    @property
    def taking_bytes(self) -> int:
        """Memory that taking groups needs besides that of the rows."""
        return (self.nbytes if self.copies else 0) + self.rows * self._schema.growth

    def add(self, batch: pa.RecordBatch, codes: NDArray[np.int32], directories: Sequence[str]) -> None:
        """Row i belongs into `directories[codes[i]]`; `batch` has the columns of the files as they were decoded."""
        numbers = [self._numbers.setdefault(directory, len(self._numbers)) for directory in directories]
        slots = np.array(numbers, np.int32)[codes]
        counts = np.bincount(slots, minlength=len(self._numbers))
        counts[: len(self._rows)] += self._rows
        self._rows = counts
        self._batches.append(batch)
        self._slots.append(slots)
        self.rows += batch.num_rows
        self.nbytes += batch.nbytes

    def take_largest(self) -> Iterator[Group]:
        """The groups of the directories that have most rows, at least a third of all rows together."""
        largest_first = np.argsort(self._rows, kind="stable")[::-1]
        enough = int(np.searchsorted(np.cumsum(self._rows[largest_first]), (self.rows + 2) // 3)) + 1
        chosen = np.zeros(len(self._rows), np.bool_)
        chosen[largest_first[:enough]] = True
        return self._take(chosen)

    def take_all(self) -> Iterator[Group]:
        """All groups; nothing is left."""
        return self._take(np.ones(len(self._rows), np.bool_))

    def _take(self, chosen: NDArray[np.bool_]) -> Iterator[Group]:
        if not self.rows:
            return
        names, counts = list(self._numbers), self._rows
        table, slots = pa.Table.from_batches(self._batches), np.concatenate(self._slots)
        if not self.copies:
            self._keep([], [], [])
            yield names[0], pa.Table.from_batches([self._schema.batch(batch) for batch in table.to_batches()])
            return
        # Not joined first: that took a quarter more CPU, and room for one more copy.
        picked = chosen[slots]
        taken = _as_one(table.take(pa.array(self._order(table, slots, np.flatnonzero(picked)))))
        del table
        kept = self._without(picked)
        self._keep(kept, slots[~picked], [name for name, gone in zip(names, chosen.tolist(), strict=True) if not gone])
        rows_of_files = pa.Table.from_batches([self._schema.batch(taken)])
        del taken
        at = 0
        for slot in np.flatnonzero(chosen).tolist():
            rows = int(counts[slot])
            if rows:
                yield names[slot], rows_of_files.slice(at, rows)
            at += rows

    def _without(self, picked: NDArray[np.bool_]) -> list[pa.RecordBatch]:
        """The rows that are not picked; every batch is let go as soon as it is done."""
        kept: list[pa.RecordBatch] = []
        start = 0
        self._batches.reverse()
        while self._batches:
            batch = self._batches.pop()
            rest = batch.filter(pa.array(~picked[start : start + batch.num_rows]))
            start += batch.num_rows
            if rest.num_rows:
                kept.append(rest)
        # Of rows that wait long every batch would leave a piece.
        many = len(kept) > _MOST_PIECES
        return [_as_one(pa.Table.from_batches(kept))] if many else kept

    def _order(self, table: pa.Table, slots: NDArray[np.int32], picked: NDArray[np.int64]) -> NDArray[np.int64]:
        of_picked = slots[picked]
        if not self._sort_by:
            # Of 16-bit numbers NumPy sorts by counting: 250,000 in 1 ms instead of 15.
            keys = of_picked.astype(np.uint16) if len(self._numbers) <= _FEW else of_picked
            return picked[np.argsort(keys, kind="stable")]
        columns = table.select(self._sort_by).take(pa.array(picked)).append_column(_SLOT, pa.array(of_picked))
        keys_of = [(name, "ascending") for name in (_SLOT, *self._sort_by)]
        order: NDArray[np.int64] = picked[pc.sort_indices(columns, sort_keys=keys_of).to_numpy()]
        return order

    def _keep(self, batches: list[pa.RecordBatch], slots: NDArray[np.int32] | list[int], names: list[str]) -> None:
        """Only these rows wait from now on; directories get new numbers."""
        old = list(self._numbers)
        self._numbers = {name: number for number, name in enumerate(names)}
        renumber = np.array([self._numbers.get(name, 0) for name in old], np.int32)
        self._batches, self._slots = [], []
        self._rows = np.zeros(len(names), np.int64)
        self.rows = self.nbytes = 0
        at = 0
        for batch in batches:
            part = renumber[np.asarray(slots[at : at + batch.num_rows], np.int64)]
            at += batch.num_rows
            self._batches.append(batch)
            self._slots.append(part)
            self._rows += np.bincount(part, minlength=len(names))
            self.rows += batch.num_rows
            self.nbytes += batch.nbytes


def _as_one(table: pa.Table) -> pa.RecordBatch:
    """The rows as one batch: what waits at once is less than Arrow can join."""
    (batch,) = table.combine_chunks().to_batches()
    return batch
