"""The columns of one pipeline and how a batch of them becomes bytes of COPY. Knows no records and no connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from ingestd.schema.types import ColumnType, parse_type

if TYPE_CHECKING:
    import pyarrow as pa

_PIECE_ROWS = 4_000


class DeclaredColumn(Protocol):
    """What a configuration says of a column; `config.Column` has this shape."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...


class SchemaColumn(Struct, frozen=True):
    """A column of the table and its parsed type."""

    name: str
    type: ColumnType


class Schema(Struct, frozen=True):
    """The declared columns in table order."""

    columns: tuple[SchemaColumn, ...]

    @classmethod
    def of(cls, columns: Iterable[DeclaredColumn]) -> Schema:
        """The schema of `pipeline.column`. Raises ValueError for an unknown type (checked when the file is loaded)."""
        return cls(tuple(SchemaColumn(column.name, parse_type(column.type)) for column in columns))

    @property
    def names(self) -> list[str]:
        """Column names in table order."""
        return [column.name for column in self.columns]

    @property
    def direct(self) -> bool:
        """Whether a batch can be copied straight into the table; else it must go through staging and casts."""
        return all(column.type.direct for column in self.columns)

    def arrow_schema(self) -> pa.Schema:
        """The schema of the batches that the decoder makes."""
        import pyarrow as pa

        return pa.schema([(column.name, column.type.arrow_type()) for column in self.columns])

    def encoder(self) -> Callable[[pa.RecordBatch], list[bytes]]:
        """A function from a batch to the pieces of a binary COPY (header, rows, trailer) in `stage_type`s.

        Make it once. Pieces, not one block: joining 20,000 rows costs more than encoding them (0.16, 0.09 us a row).
        """
        import pgpq
        from pgpq import encoders
        from pgpq import schema as pg

        arrow = self.arrow_schema()
        chosen = {field.name: pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field) for field in arrow}
        for column in self.columns:
            if column.type.scalar == "jsonb" and not column.type.is_array:
                builder = encoders.StringEncoderBuilder.new_with_output(arrow.field(column.name), pg.Jsonb())
                chosen[column.name] = builder

        def encode(batch: pa.RecordBatch) -> list[bytes]:
            encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(arrow, chosen)
            slices = (batch.slice(start, _PIECE_ROWS) for start in range(0, batch.num_rows, _PIECE_ROWS))
            return [encoder.write_header(), *map(encoder.write_batch, slices), encoder.finish()]

        return encode
