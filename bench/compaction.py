"""`python -m bench.compaction`: many small files of a lake merged, while two readers count its rows all the time.

The files are written and committed as a worker does it, into a real PostgreSQL with its default settings. Then
`ingestd lake compact` runs in a process of its own; two more read without a pause, by a plain glob of everything below
the root and through the manifest, with DuckDB. Every answer but an error must be the number of rows.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
from msgspec import structs

from bench import cpu
from bench.lake import decoded, pipeline
from bench.machine import describe
from ingestd.config import options as cfg
from ingestd.embedded.postgres import PostgresServer
from ingestd.lake.identity import check_identity
from ingestd.lake.merging.compaction import Compactor, batches
from ingestd.lake.merging.ledger import Ledger, open_ledger, prepare
from ingestd.lake.merging.merge import no_tick
from ingestd.lake.open import open_place
from ingestd.lake.reading.readable import Vanished, readable
from ingestd.lake.settle import settle
from ingestd.lake.writing.writer import LakeWriter

_WAYS = ("glob", "manifest")
_COUNT = "SELECT count(*), count(DISTINCT tx_id) FROM read_parquet($files, hive_partitioning = false)"


def lake_of(root: Path) -> cfg.Pipeline:
    """Transactions by category."""
    return pipeline(root, partition_by=["category"], sort_by=["timestamp"])


def opened(url: str, root: Path) -> tuple[cfg.Pipeline, Ledger]:
    """A session of its own."""
    chosen = lake_of(root)
    ledger = open_ledger(cfg.Store(url=url), chosen)
    prepare(ledger)
    return chosen, ledger


def fill(url: str, root: Path, rows: int, rolls: int) -> int:
    """So many rows in so many commits; how many files they are."""
    chosen, ledger = opened(url, root)
    assert chosen.lake is not None
    place = open_place(chosen.lake)
    check_identity(place, ledger.manifest, ledger.store.open())
    (lease,) = ledger.store.claim([0], lambda new, _: {p: (0, "id") for p in new})
    writer = LakeWriter(chosen, place, chosen.topic)
    writer.begin(0, 0, lease.epoch)
    at_once = max(1, rows // rolls)
    for batch in decoded(rows):
        for start in range(0, batch.columns.num_rows, at_once):
            part = batch.columns.slice(start, at_once)
            (tile,) = batch.tiles
            piece = structs.replace(tile, start=tile.start + start, end=tile.start + start + part.num_rows)
            writer.add(structs.replace(batch, columns=part, tiles=[piece]))
            sealed = writer.seal(0)
            with ledger.store.transaction([sealed.tile], {0: lease.epoch}) as tx:
                ledger.manifest.add(tx.cursor, sealed.files)
                tx.counts[0].records = tx.counts[0].inserted = part.num_rows
            writer.committed(0)
            settle(place, ledger.manifest, ledger.store.open(), ledger.manifest.unsettled(ledger.store.open(), "", []))
    files = len(ledger.manifest.files(ledger.store.open()))
    ledger.store.close()
    return files


def compact(url: str, root: Path) -> dict[str, Any]:
    """In this process, which has done nothing else."""
    chosen, ledger = opened(url, root)
    assert chosen.lake is not None
    began = time.monotonic()
    with ledger.held("bench"):
        compactor = Compactor(chosen, open_place(chosen.lake), ledger, no_tick)
        compactor.recover()
        done = [compactor.run(batch) for batch in batches(compactor.plan())]
    secs = time.monotonic() - began
    ledger.store.close()
    return {
        "files_before": sum(one.files_before for one in done),
        "files_after": sum(one.files_after for one in done),
        "mb_before": round(sum(one.bytes_before for one in done) / 1e6, 1),
        "mb_after": round(sum(one.bytes_after for one in done) / 1e6, 1),
        "rows": sum(one.rows for one in done),
        "secs": round(secs, 2),
        "peak_mb": round(cpu.peak_rss_mb(os.getpid())),
    }


def read(url: str, root: Path, way: str, rows: int) -> dict[str, int]:
    """Count until SIGTERM."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: ended.append(number))
    print("reading", flush=True)
    chosen, ledger = opened(url, root)
    assert chosen.lake is not None
    place = open_place(chosen.lake)
    answers = {"right": 0, "wrong": 0, "errors": 0}
    while not ended:
        try:
            files: Any = f"{root}/**/*.parquet"
            if way == "manifest":
                keys = readable(place, ledger.manifest.files(ledger.store.open())).keys
                files = [str(root / key) for key in keys]
            with duckdb.connect() as connection:
                found = connection.execute(_COUNT, {"files": files}).fetchone()
        except (duckdb.Error, Vanished):
            answers["errors"] += 1
            continue
        answers["right" if found == (rows, rows) else "wrong"] += 1
    ledger.store.close()
    return answers


def measure(folder: Path | None, rows: int, rolls: int, with_readers: bool) -> dict[str, Any]:
    """Fill, read, merge, and what came of it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="ingestd-bench-") as made:
        Path(made).chmod(0o711)  # PostgreSQL has a user of its own
        server = PostgresServer(Path(made) / "postgres")
        server.start()
        try:
            root = Path(made) / "lake"
            fill(server.url(), root, rows, rolls)
            readers = [_started(server.url(), root, rows, way) for way in _WAYS] if with_readers else []
            for reader in readers:
                assert reader.stdout is not None
                reader.stdout.readline()
            time.sleep(3 if readers else 0)  # they read what is there before it changes
            merged = _run(server.url(), root, rows, "compact")
            answers = {way: _ended(reader) for way, reader in zip(_WAYS, readers, strict=False)}
            return {"merged": merged, "readers": answers, **describe()}
        finally:
            server.stop()


def _command(url: str, root: Path, rows: int, what: str) -> list[str]:
    return [sys.executable, "-m", "bench.compaction", "--rows", str(rows), "--child", what, url, str(root)]


def _run(url: str, root: Path, rows: int, what: str) -> dict[str, Any]:
    done = subprocess.run(_command(url, root, rows, what), check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _started(url: str, root: Path, rows: int, way: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(_command(url, root, rows, way), stdout=subprocess.PIPE, text=True)


def _ended(reader: "subprocess.Popen[str]") -> dict[str, int]:
    time.sleep(2)  # the readers see the end as well
    os.kill(reader.pid, signal.SIGTERM)
    out, _ = reader.communicate(timeout=60)
    found: dict[str, int] = json.loads(out.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compaction", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the lake (default: %(default)s)")
    parser.add_argument("--commits", type=int, default=100, help="each brings a file for every category")
    parser.add_argument("--no-readers", action="store_true", help="leave both cores to the merging")
    parser.add_argument("--folder", type=Path, help="where the files are; default: the system's temporary directory")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "URL", "ROOT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, url, root = args.child
        done = compact(url, Path(root)) if what == "compact" else read(url, Path(root), what, args.rows)
        print(json.dumps(done))
        return
    print(json.dumps(measure(args.folder, args.rows, args.commits, not args.no_readers), indent=2))


if __name__ == "__main__":
    main()
