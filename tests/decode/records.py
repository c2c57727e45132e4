"""Owns records in memory and the decoder of a contract written in one line. Must not know any server."""

import msgspec

from ingestd.batch import Chunk, Rows, Tile
from ingestd.config.options import Column, Pipeline, Table
from ingestd.decode.decoder import make_decoder


class MemoryRecord(msgspec.Struct):
    """A record of partition 3."""

    payload: bytes | None
    at: int

    def value(self) -> bytes | None:
        return self.payload

    def key(self) -> bytes | None:
        return b"key-%d" % self.at

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [("h", b"1")]

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000 + self.at)


def contract(*columns: Column) -> Pipeline:
    """A pipeline of `columns`."""
    return Pipeline(name="p", topic="t", column=columns, table=Table(name="t"))


def chunk_of(values: list[bytes | None]) -> Chunk:
    """A chunk whose offsets begin at 100."""
    return Chunk([Tile(3, 100, 100 + len(values))], [MemoryRecord(value, 100 + n) for n, value in enumerate(values)])


def decoded(values: list[bytes | None], *columns: Column) -> Rows:
    """What the decoder of `columns` makes of `values`."""
    return make_decoder(contract(*columns))(chunk_of(values))


def one_column(kind: str, *texts: str, **options: object) -> tuple[list[object], dict[int, str]]:
    """Good values in order, and position -> reason of the refused ones, of JSON texts read as a column `x`."""
    column = msgspec.convert({"name": "x", "type": kind, **options}, Column)
    rows = decoded([b'{"x":%s}' % text.encode() for text in texts], column)
    return rows.columns.column(0).to_pylist(), {letter.offset - 100: letter.reason for letter in rows.dead}
