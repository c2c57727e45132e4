"""The lake's writer beside pyarrow's own, of the same decoded rows: `python -m bench lake`.

Rows are decoded before the clock starts. Every side writes to the same disk; ingestd's also makes its files durable,
checks them and computes their hashes, as before each commit. Then memory, of a process of its own for each width.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from msgspec import convert, structs

from bench.results import save, spread
from bench.transactions import Transactions, spare_users
from ingestd.batch import Chunk, Rows, Tile
from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.lake.places.local import LocalPlace
from ingestd.lake.writing.schema import FileSchema
from ingestd.lake.writing.writer import LakeWriter

BATCH_ROWS = 25_000
_CHUNK_ROWS = 2_000
COLUMNS = (
    *(("tx_id", "varchar"), ("user_id", "varchar"), ("amount", "numeric(10,2)"), ("currency", "varchar(3)")),
    *(("merchant", "varchar(255)"), ("category", "varchar(100)"), ("timestamp", "timestamptz")),
    *(("source_system", "text"), ("transaction_type", "text"), ("processing_time_ms", "int4")),
)
_BY_DAY = "15 categories, year, month, day"
_LAYOUTS: dict[str, dict[str, Any]] = {
    "one directory": {},
    "one directory, sorted by timestamp": {"sort_by": ["timestamp"]},
    _BY_DAY: {"partition_by": ["category", "year(timestamp)", "month(timestamp)", "day(timestamp)"]},
}
_OURS = "LakeWriter, "
_PLAIN = "pyarrow.parquet.write_table"
_HIVE = f"pyarrow.dataset.write_dataset, {_BY_DAY}"
_GROUP_ROWS = 16_000
"""The least rows of a row group that write_dataset makes: about what the writer's buffer allows."""
_MIB = 1 << 20


class _Record:
    """A value at an offset of partition 0."""

    def __init__(self, value: bytes, offset: int):
        self._value, self._offset = value, offset

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        return None

    def headers(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


def pipeline(root: Path, **lake: Any) -> cfg.Pipeline:
    """Transactions into a lake alone."""
    column = [{"name": name, "type": kind, "required": True} for name, kind in COLUMNS]
    given = {"name": "bench", "topic": "bench", "column": column, "lake": {"path": str(root), **lake}}
    return convert(given, cfg.Pipeline)


def decoded(count: int, seed: int = 7, start: int | None = None) -> list[Rows]:
    """Batches of rows, as a worker has them; `start` is the time of the first, epoch seconds."""
    made, decode = Transactions(spare_users(seed), seed, start), make_decoder(pipeline(Path("x")))
    batches = []
    for start in range(0, count, BATCH_ROWS):
        parts = []
        for at in range(start, min(start + BATCH_ROWS, count), _CHUNK_ROWS):
            values = made.take(min(_CHUNK_ROWS, start + BATCH_ROWS - at, count - at))
            records = [_Record(value, at + n) for n, (_, value) in enumerate(values)]
            parts.append(decode(Chunk([Tile(0, at, at + len(records))], records)))
        columns = pa.Table.from_batches([part.columns for part in parts]).combine_chunks().to_batches()[0]
        batches.append(Rows([Tile(0, start, start + columns.num_rows)], columns, [], [], 0))
    return batches


def measure(args: argparse.Namespace) -> int:
    """Run all in turn and save the result."""
    batches = decoded(args.rows)
    schema = FileSchema.of(pipeline(Path("x")))
    table = pa.Table.from_batches([schema.batch(rows.columns) for rows in batches])
    sides = [_PLAIN, _HIVE, *(_OURS + name for name in _LAYOUTS)]
    rates: dict[str, list[float]] = {name: [] for name in sides}
    cpu_us: dict[str, list[float]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory(prefix="ingestd-bench-", dir=args.directory) as made:
        for number in range(args.rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                root = Path(made) / f"{number}-{sides.index(side)}"
                root.mkdir()
                began, used = time.perf_counter(), time.process_time()
                if side == _PLAIN:
                    pq.write_table(table, root / "all.parquet", compression="zstd")
                elif side == _HIVE:
                    _write_dataset(table, root)
                else:
                    _write(batches, pipeline(root, **_LAYOUTS[side.removeprefix(_OURS)]))
                rates[side].append(args.rows / (time.perf_counter() - began))
                cpu_us[side].append((time.process_time() - used) / args.rows * 1e6)
                nbytes = sum(path.stat().st_size for path in root.rglob("*.parquet*"))
                print(
                    f"round {number + 1}: {side}: {rates[side][-1]:,.0f} rows/s, "
                    f"{cpu_us[side][-1]:.2f} us CPU, {nbytes / _MIB:.0f} MiB",
                    flush=True,
                )
    pairs = [(_OURS + name, _PLAIN) for name in _LAYOUTS] + [(_OURS + _BY_DAY, _HIVE)]
    ratios = {
        f"{ours} / {other}": spread([a / b for a, b in zip(rates[ours], rates[other], strict=True)])
        for ours, other in pairs
    }
    peaks = {str(width): peak_mib(width) for width in (1, 100, 5_000)}
    for width, peak in peaks.items():
        print(f"{width} directories: {peak:.0f} MiB more at the peak than before the writer was made")
    result = {
        "kind": "rates",
        "title": f"The lake's writer, {args.rows:,} decoded transactions of ten columns",
        "note": f"Batches of {BATCH_ROWS:,} rows, zstd; write_table has one table and makes nothing durable. Peak "
        "memory of a writer (lake.buffer = 64 MiB) over that of the process before it, MiB by number of directories: "
        + ", ".join(f"{width}: {peak:.0f}" for width, peak in peaks.items())
        + ".",
        "rates": {name: spread(found) for name, found in rates.items()},
        "cpu_us": {name: spread(found) for name, found in cpu_us.items()},
        "ratios": ratios,
        "peak_mib": peaks,
    }
    save("lake", result)
    return 0


def _write(batches: list[Rows], of: cfg.Pipeline) -> None:
    assert of.lake is not None
    writer = LakeWriter(of, LocalPlace(of.lake.path), of.topic)
    writer.begin(0, 0, 1)
    for rows in batches:
        writer.add(rows)
        if writer.due(time.monotonic()):
            writer.seal(0)
            writer.committed(0)
    writer.seal(0)


def _write_dataset(table: pa.Table, root: Path) -> None:
    for part in (pc.year, pc.month, pc.day):
        table = table.append_column(part.__name__, part(table.column("timestamp")))
    names = ["category", "year", "month", "day"]
    hive = ds.partitioning(pa.schema([table.schema.field(name) for name in names]), flavor="hive")
    options = ds.ParquetFileFormat().make_write_options(compression="zstd")
    ds.write_dataset(
        table, root, format="parquet", partitioning=hive, file_options=options, min_rows_per_group=_GROUP_ROWS
    )


def peak_mib(directories: int) -> float:
    """How far the memory of a process rises that writes 1,000,000 rows into so many directories."""
    code = f"from bench.lake import rise; print(rise({directories}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def rise(directories: int) -> float:
    """MiB of memory at the peak beyond that of this process before the writer was made."""
    (rows,) = decoded(BATCH_ROWS)
    keys = pa.array([f"key-{n % directories}" for n in range(BATCH_ROWS)])
    columns = rows.columns.set_column(5, "category", keys)
    with tempfile.TemporaryDirectory(prefix="ingestd-bench-") as made:
        of = pipeline(Path(made), partition_by=["category"])
        writer = LakeWriter(of, LocalPlace(made), of.topic)
        writer.begin(0, 0, 1)
        # The peak so far is forgotten; getrusage would give that of the parent process.
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        for at in range(0, 1_000_000, BATCH_ROWS):
            # A copy of its own for every batch, as decoded ones are.
            fresh = pa.RecordBatch.from_arrays(
                [pa.concat_arrays([a[:1], a[1:]]) for a in columns], schema=columns.schema
            )
            writer.add(structs.replace(rows, columns=fresh, tiles=[Tile(0, at, at + BATCH_ROWS)]))
        writer.seal(0)
        return _peak() - before


def _peak() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024
