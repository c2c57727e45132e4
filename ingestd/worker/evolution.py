"""New fields on their way to columns: found by the reader, added between two leases. Knows no database and no Kafka.

A chunk with a new field is never committed as it is: the lease ends, the column is added, and the next lease reads
that chunk again with the longer pipeline. While the table is locked that is tried again and again, and the partition
waits: rows written meanwhile would have lost the field.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import structs

from ingestd.batch import Chunk, Decode, Rows
from ingestd.config import options as cfg
from ingestd.decode.shape import shown
from ingestd.errors import IngestdError
from ingestd.stores.evolution import MAX_EVOLVED_COLUMNS, Evolved
from ingestd.stores.open import open_evolution
from ingestd.stores.store import Store

_MOST_IGNORED = 1_000
"""Names that cannot be columns: a producer may invent any number of them, and the log must not follow."""
_MOST_NAMED = 20
"""Of the fields that are ignored at once."""


class Outgrown(IngestdError):
    """The reader met what the pipeline's columns cannot take; raised in the reader, it ends the lease."""


class NewFields(Outgrown):
    """The chunk that was just read has fields that no column takes; nothing of it was committed.

    Raised in the reader; the lease ends, `Evolution.absorb` adds the columns, the next lease reads the chunk again.
    """

    def __init__(self, fields: dict[str, str]):
        super().__init__(f"{len(fields)} new fields")
        self.fields = fields


class Evolution:
    """The evolved columns of one pipeline, as a worker sees them from lease to lease."""

    def __init__(self, store: cfg.Store, pipeline: cfg.Pipeline, log: Any):
        self._pipeline = pipeline
        self._columns = open_evolution(store, pipeline) if pipeline.on_new_field == "evolve" else None
        self._log = log
        self.ignored: set[str] = set()
        """Fields that are not told of again; shared with the decoder."""

    def pipeline(self, store: Store) -> cfg.Pipeline:
        """The pipeline with the columns that were added so far. Raises as `store` does."""
        if self._columns is None:
            return self._pipeline
        with store.deciding():
            evolved = self._columns.read(store.open())
        self._ignore(evolved.others, "")
        return extended(self._pipeline, evolved)

    def absorb(self, store: Store, found: Outgrown) -> None:
        """Add the columns. Raises: Retryable while the table is locked, Halt without the privilege."""
        assert self._columns is not None and isinstance(found, NewFields)
        fields = found.fields
        with store.deciding():
            added = self._columns.add(store.open(), fields)
        for name in added:
            self._log.info("column for a new field", column=name, table=self._pipeline.table.name)
        refused = fields.keys() - set(added)
        self._ignore(refused, f"the table has a column of that name, or {MAX_EVOLVED_COLUMNS} columns were added")

    def watching(self, decode: Decode) -> Decode:
        """`decode`, raising NewFields instead of giving rows that would lose a field."""
        if self._columns is None:
            return decode

        def decode_or_raise(chunk: Chunk) -> Rows:
            rows = decode(chunk)
            if rows.new_fields:
                odd = [name for name, kind in rows.new_fields.items() if not kind]
                if len(self.ignored) < _MOST_IGNORED:
                    self._ignore(odd, "it cannot be a column's name")
                if fields := {name: kind for name, kind in rows.new_fields.items() if kind}:
                    raise NewFields(fields)
            return rows

        return decode_or_raise

    def _ignore(self, names: Collection[str], reason: str) -> None:
        """Whatever is refused must get here: a field told of again would end every lease."""
        found = sorted(set(names) - self.ignored)
        self.ignored.update(found)
        if not reason:
            return
        for name in found[:_MOST_NAMED]:
            self._log.warning("new field ignored", field=shown(name), reason=reason)
        if len(found) > _MOST_NAMED:
            self._log.warning("more new fields ignored", fields=len(found) - _MOST_NAMED, reason=reason)


def extended(pipeline: cfg.Pipeline, evolved: Evolved) -> cfg.Pipeline:
    """`pipeline`, and its contract versions, with the evolved columns behind the others.

    What the file declares wins: a field that it reads by now, or a column that it names, is not added.
    """
    read = {(column.path or column.name).partition(".")[0] for column in pipeline.column} | {
        column.name for column in pipeline.column
    }
    more = tuple(cfg.Column(name=name, type=kind) for name, kind in evolved.columns.items() if name not in read)
    full = len(evolved.columns) >= MAX_EVOLVED_COLUMNS
    if not more and not full:
        return pipeline
    contracts = tuple(
        structs.replace(contract, column=contract.column + tuple(c for c in more if _is_free(contract, c)))
        for contract in pipeline.contract
    )
    return structs.replace(
        pipeline,
        column=pipeline.column + more,
        contract=contracts,
        on_new_field="ignore" if full else pipeline.on_new_field,
    )


def _is_free(contract: cfg.Contract, column: cfg.Column) -> bool:
    """Whether this version does not read the field into another column."""
    return all((one.path or one.name).partition(".")[0] != column.name for one in contract.column)
