"""The copy of a source's table follows the source: seen by the reader, changed between two leases. Knows no database.

A chunk that the copy's columns cannot take is never committed as it is: the lease ends, the table is changed, and the
next lease reads that chunk again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ingestd.batch import Chunk, Decode, Rows
from ingestd.config import options as cfg
from ingestd.decode.debezium.defaults import defaults_of, fills_in, with_defaults
from ingestd.decode.debezium.types import contract_columns
from ingestd.errors import Halt
from ingestd.schema.source import SourceSchema
from ingestd.stores.faults import RowsRefused, UnknownFault
from ingestd.stores.open import open_source_tables
from ingestd.stores.source_tables import Growth, SourceTable, copied, grown
from ingestd.stores.store import Store
from ingestd.worker.evolution import Evolution, Outgrown


class NewSchema(Outgrown):
    """The chunk that was just read does not fit the copy's columns; nothing of it was committed."""

    def __init__(self, schema: SourceSchema):
        super().__init__(f"{schema.name}: the source's table has changed")
        self.schema = schema


class SourceTableCopy:
    """The columns of one live copy, as a worker sees them from lease to lease; the twin of `Evolution`."""

    def __init__(self, store: cfg.Store, pipeline: cfg.Pipeline, log: Any):
        self._pipeline = pipeline
        self._tables = open_source_tables(store, pipeline)
        self._log = log
        self._known: SourceTable | None = None
        self.ignored: set[str] = set()
        """None: every column is followed."""

    def pipeline(self, store: Store) -> cfg.Pipeline:
        """The pipeline with the source's columns and key as they are remembered. Raises as `store` does."""
        with store.deciding():
            self._known = known = self._tables.read(store.open())
        return self._pipeline if known is None else copied(self._pipeline, known)

    def absorb(self, store: Store, found: Outgrown) -> None:
        """Change the copy. Raises: Retryable while it is locked; Halt for what cannot follow by itself."""
        assert isinstance(found, NewSchema)
        schema, key = found.schema, found.schema.key
        where = f"{self._pipeline.topic} ({schema.name})"
        if key is None and self._pipeline.has_table():
            mend = "let the connector's key converter write schemas too (key.converter.schemas.enable = true)"
            raise Halt(f"{where}: the events do not tell the table's key; {mend}, and reload (HUP)")
        if not key and self._pipeline.has_table():
            mend = "give it a primary key, or leave it out of the topics"
            raise Halt(f"{where}: the source's table has no primary key, so its rows cannot be told apart; {mend}")
        wanted = contract_columns(schema.columns, key or ())

        filled = [column for column in schema.columns if fills_in(column)]

        def growth_of(known: SourceTable | None) -> Growth:
            return grown(known, wanted, key or (), filled, where)

        def defaults(names: Sequence[str]) -> Mapping[str, Any]:
            types = {column.name: column.type for column in wanted if column.name in names}
            return defaults_of(self._pipeline, filled, types)

        try:
            with store.deciding():
                growth = self._tables.grow(store.open(), growth_of, defaults)
        except (RowsRefused, UnknownFault) as fault:
            mend = "drop what hinders it, such as a view of the column, then reload (HUP)"
            raise Halt(
                f"{where}: the source's table has changed and the copy cannot follow: {fault}; {mend}"
            ) from fault
        for name, kind in (*growth.added, *growth.widened):
            self._log.info("the source's table has changed", table=self._pipeline.table.name, column=name, type=kind)

    def watching(self, decode: Decode) -> Decode:
        """`decode`, raising NewSchema instead of giving rows that the copy's columns cannot take.

        The rows are those of the pipeline that was asked for last.
        """
        known = self._known
        defaults = defaults_of(self._pipeline, known.defaults, dict(known.columns)) if known is not None else {}

        def decode_or_raise(chunk: Chunk) -> Rows:
            rows = decode(chunk)
            if rows.source_schema is not None:
                raise NewSchema(rows.source_schema)
            return with_defaults(rows, defaults)

        return decode_or_raise


def open_growth(store: cfg.Store, pipeline: cfg.Pipeline, log: Any) -> Evolution | SourceTableCopy:
    """How the columns of this pipeline follow what comes."""
    if pipeline.cdc is not None and pipeline.cdc.columns == "from_events":
        return SourceTableCopy(store, pipeline, log)
    return Evolution(store, pipeline, log)
