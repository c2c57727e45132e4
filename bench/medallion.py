"""`python -m bench.medallion [--events N]`: `lake current` on runs of change events, at one size and at ten times it.

The stage files are made directly, by DuckDB: what is measured is the merge alone. Per size: 19 runs at once, then one
more; what the second merge reads is shown twice, by the sizes of the files and by the kernel's count of this process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb

from ingestd.config import options as cfg
from ingestd.medallion.chain import Chain
from ingestd.medallion.current import Merged
from ingestd.medallion.stage import unit_directory
from ingestd.run_id import Run, new_run_id
from ingestd.stores.medallion import SETTLED, StagedRun, StageLedger, StageUnit
from ingestd.stores.open import open_medallion, open_runs, open_store
from ingestd.stores.runs import ENDED
from ingestd.stores.store import LedgerKey

RUNS = 20
TOPIC = "shop.public.orders"
_EVENTS_A_KEY = 5
_EVENTS = """
COPY (
    SELECT (hash(n, {seed}) % {keys})::BIGINT AS id,
           'customer ' || (hash(n, 1) % 100000) AS customer,
           ((hash(n, 2) % 1000000) / 100)::DECIMAL(12, 2) AS total,
           ['new', 'paid', 'sent', 'back'][(1 + hash(n, 3) % 4)::BIGINT] AS state,
           md5(n::VARCHAR) || md5((n + 1)::VARCHAR) AS note,
           make_timestamp(1700000000000000 + n * 1000)::TIMESTAMPTZ AS placed_at,
           CASE WHEN deleted THEN 'd' ELSE 'u' END AS _op, deleted AS _deleted, n AS _lsn,
           make_timestamp(1700000000000000 + n * 1000)::TIMESTAMPTZ AS _ts,
           '{topic}' AS _topic, (id % 4)::INTEGER AS _partition, n AS _offset, '{run_id}' AS _run_id,
           CASE WHEN hash(n, 5) % 10 = 0 AND NOT deleted THEN ['note'] END AS _absent
    FROM (SELECT range AS n, hash(range, 4) % 50 = 0 AS deleted FROM range({start}, {end}))
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


def pipeline(root: Path) -> cfg.Pipeline:
    """A bronze pipeline whose bronze is never looked at."""
    return cfg.Pipeline(
        name="bronze",
        topic=TOPIC,
        format="raw",
        lake=cfg.Lake(
            path=str(root / "bronze"), partition_by=("run_id",), compact=cfg.Compaction(into=str(root / "c"))
        ),
        medallion=cfg.Medallion(),
    )


def add_run(root: Path, store: cfg.Store, number: int, events: int, keys: int) -> None:
    """A run that has ended and is staged."""
    run_id = new_run_id(1_700_000_000_000 + number * 1000)
    directory = unit_directory(root / "stage", "orders", run_id)
    directory.mkdir(parents=True)
    path = directory / "orders-00000.parquet"
    start = number * events
    values = {"seed": 7, "keys": keys, "topic": TOPIC, "run_id": run_id, "path": path}
    duckdb.execute("SET TimeZone = 'UTC'")
    duckdb.execute(_EVENTS.format(start=start, end=start + events, **values))
    opened, statements, runs = open_store(store, LedgerKey("bronze", TOPIC)), open_medallion(store), open_runs(store)
    opened.prepare()
    connection = opened.open()
    runs.prepare(connection)
    statements.prepare(connection)
    runs.begin(connection, Run(run_id, "bench", 1, "gone"), ["bronze"])
    runs.end(connection, run_id, ENDED)
    ledger = StageLedger(statements, "bronze")
    unit = StageUnit(
        run_id=run_id,
        table="orders",
        topic=TOPIC,
        state=SETTLED,
        events=events,
        rows=events,
        dead=0,
        ignored=0,
        truncates=0,
        files=1,
        nbytes=path.stat().st_size,
        partitions={str(p): (start, start + events) for p in range(4)},
        key=("id",),
    )
    with opened.side_transaction() as tx:
        ledger.add(tx.cursor, unit)
    ledger.add_run(connection, StagedRun(run_id=run_id, events=events, unread=0))
    opened.close()


def merge(root: Path, store: cfg.Store) -> dict[str, Any]:
    """One `lake current`, measured in this process, which has done nothing else."""
    before, began = _read_bytes(), time.monotonic()
    chain = Chain(store, pipeline(root))
    (found,) = list(chain.current())
    chain.close()
    assert isinstance(found, Merged), found
    return {
        "secs": round(time.monotonic() - began, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "events": found.events,
        "rows": found.rows,
        "buckets": f"{found.touched} of {found.buckets}",
        "stage_mb": round(found.stage_bytes / 1e6, 1),
        "current_mb": round(found.current_bytes / 1e6, 1),
        "kernel_read_mb": round((_read_bytes() - before) / 1e6, 1),
    }


def measure(events: int, folder: Path) -> list[dict[str, Any]]:
    """The merge of all runs but one, and then of that one."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="ingestd-bench-") as made:
        root = Path(made)
        store = cfg.Store(url=f"sqlite:///{root}/metadata.db")
        found = []
        for numbers in (range(RUNS - 1), range(RUNS - 1, RUNS)):
            for number in numbers:
                add_run(root, store, number, events, RUNS * events // _EVENTS_A_KEY)
            done = subprocess.run(
                [sys.executable, "-m", "bench.medallion", "--merge", made], check=True, capture_output=True, text=True
            )
            found.append({"runs": f"{len(numbers)} x {events:,}", **json.loads(done.stdout)})
        check(root)
        return found


def check(root: Path) -> None:
    """The same by one window function over all events, columns that were absent left out."""
    latest = "id, customer, total, state, placed_at"
    stage = f"read_parquet('{root}/stage/orders/*/*.parquet', hive_partitioning = false)"
    wanted = (
        f"SELECT {latest} FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY _offset DESC) AS r FROM {stage})"
        " WHERE r = 1 AND NOT _deleted"
    )
    current = f"SELECT {latest} FROM '{root}/current/orders/*.parquet'"
    differing = f"SELECT count(*) FROM (({wanted} EXCEPT ALL {current}) UNION ALL ({current} EXCEPT ALL {wanted}))"
    row = duckdb.execute(differing).fetchone()
    assert row == (0,), f"{row} rows differ"


def _read_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.medallion", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="events of a run at the smaller size")
    parser.add_argument(
        "--folder", type=Path, help="where to make the files; default: the system's temporary directory"
    )
    parser.add_argument("--merge", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.merge is not None:
        print(json.dumps(merge(args.merge, cfg.Store(url=f"sqlite:///{args.merge}/metadata.db"))))
        return
    sizes = [measure(args.events * times, args.folder) for times in (1, 10)]
    for lines in sizes:
        for line in lines:
            print("  ".join(f"{name}={value}" for name, value in line.items()), flush=True)
    for small, large in zip(*sizes, strict=True):
        print(
            f"10 x the data: {large['secs'] / small['secs']:.1f} x the time, {large['peak_mb'] - small['peak_mb']:+} MB"
        )


if __name__ == "__main__":
    main()
