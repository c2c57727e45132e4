"""A batch as PostgreSQL wants it: chunks joined, rows in key order, binary COPY bytes. Knows no connection."""

import time
from collections.abc import Callable, Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ingestd.batch import DeadLetter, Record, Rows, Tile

Encoder = Callable[[pa.RecordBatch], list[bytes]]


class Encoded(Struct):
    """Rows ready for COPY. Row n of the COPY came from `records[order[n]]` (`order` None: as they came)."""

    rows: Rows
    columns: pa.RecordBatch
    """The rows in the order of the COPY."""
    encoder: Encoder
    order: pa.UInt64Array | None
    pieces: list[bytes]
    """One binary COPY, in writes of some hundred kilobytes."""
    count: int
    repeats: bool
    """Whether a key is there twice: then the order of insertion tells which row stays."""
    encode_ns: int

    def record(self, n: int) -> Record:
        """The record behind row `n` (counted from 0) of the COPY stream."""
        return self.rows.records[n if self.order is None else self.order[n].as_py()]

    def without(self, numbers: Collection[int]) -> list[bytes]:
        """The COPY of all rows but these."""
        keep = [True] * self.count
        for n in numbers:
            keep[n] = False
        rest = self.columns.filter(pa.array(keep, pa.bool_()))
        return self.encoder(rest) if rest.num_rows else []


def join(parts: Sequence[Rows]) -> Rows:
    """Several consecutive chunks as one batch; tiles of a partition melt into one.

    Raises: ValueError when they do not meet, a defect: what lies between would be skipped.
    """
    if len(parts) == 1:
        return parts[0]
    tiles: dict[int, Tile] = {}
    for part in parts:
        for tile in part.tiles:
            before = tiles.get(tile.partition)
            if before and before.end != tile.start:
                raise ValueError(f"partition {tile.partition}: chunks end at {before.end} and go on at {tile.start}")
            tiles[tile.partition] = Tile(tile.partition, before.start if before else tile.start, tile.end)
    columns = pa.Table.from_batches([part.columns for part in parts]).combine_chunks()
    batches = columns.to_batches()
    if len(batches) > 1:
        raise ValueError("a column of one batch is larger than Arrow can join; lower batch.max_bytes")
    return Rows(
        tiles=list(tiles.values()),
        columns=batches[0] if batches else parts[0].columns,
        records=[record for part in parts for record in part.records],
        dead=[letter for part in parts for letter in part.dead],
        nbytes=sum(part.nbytes for part in parts),
    )


def encode(rows: Rows, key: Sequence[str], encoder: Encoder, stored: Sequence[str]) -> Encoded:
    """Sorted by `key` (stable, bytes order for text: COLLATE "C") and encoded once for every way in.

    `stored` are the columns of the table, in the order of `encoder`; a batch may have more.

    Sorted rows take neighbouring index pages, and all workers lock keys in one order.

    Raises: ValueError when rows and records differ in number, a defect: a record would be skipped.
    """
    if rows.columns.num_rows != len(rows.records):
        raise ValueError(f"{rows.columns.num_rows} rows of {len(rows.records)} records")
    began = time.perf_counter_ns()
    columns, order, repeats = rows.columns, None, False
    if columns.schema.names != list(stored):
        columns = columns.select(list(stored))
    if key and columns.num_rows > 1:
        if len(key) == 1:
            order = pc.sort_indices(columns.column(key[0]))
        else:
            order = pc.sort_indices(columns, sort_keys=[(name, "ascending") for name in key])
        columns = columns.take(order)
        repeats = _repeats(columns, key)
    pieces = encoder(columns) if columns.num_rows else []
    return Encoded(rows, columns, encoder, order, pieces, columns.num_rows, repeats, time.perf_counter_ns() - began)


def _repeats(columns: pa.RecordBatch, key: Sequence[str]) -> bool:
    """Whether two neighbours of the sorted batch have one key; null equals nothing."""
    same = None
    for name in key:
        column = columns.column(name)
        equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        same = equal if same is None else pc.and_(same, equal)
    return bool(pc.any(same).as_py())


def split(rows: Rows) -> tuple[Rows, Rows]:
    """Two halves whose tiles meet: for errors that only COMMIT raises, and for faults nobody knows.

    `rows` has at least two records or dead letters in all. The cut is by offset in one partition's order, so each
    half is a prefix or a suffix in every partition.
    """
    places = sorted(
        [(r.partition(), r.offset()) for r in rows.records] + [(d.partition, d.offset) for d in rows.dead],
    )
    cut = places[len(places) // 2]
    mask = [(r.partition(), r.offset()) < cut for r in rows.records]
    halves = []
    for first in (True, False):
        keep = pa.array([m is first for m in mask], pa.bool_())
        tiles = []
        for tile in rows.tiles:
            at = tile.end if tile.partition < cut[0] else tile.start if tile.partition > cut[0] else cut[1]
            tiles.append(Tile(tile.partition, tile.start, at) if first else Tile(tile.partition, at, tile.end))
        records = [r for r, m in zip(rows.records, mask, strict=True) if m is first]
        dead = [d for d in rows.dead if ((d.partition, d.offset) < cut) is first]
        nbytes = sum(len(r.value() or b"") for r in records) + sum(len(d.payload or b"") for d in dead)
        halves.append(Rows([t for t in tiles if t.end > t.start], rows.columns.filter(keep), records, dead, nbytes))
    return halves[0], halves[1]


def without(rows: Rows, refused: Sequence[DeadLetter]) -> Rows:
    """`rows` with the records of `refused` among its dead letters instead of its rows."""
    places = {(letter.partition, letter.offset) for letter in refused}
    mask = [(record.partition(), record.offset()) not in places for record in rows.records]
    records = [record for record, kept in zip(rows.records, mask, strict=True) if kept]
    columns = rows.columns.filter(pa.array(mask, pa.bool_()))
    return Rows(rows.tiles, columns, records, [*rows.dead, *refused], rows.nbytes)
