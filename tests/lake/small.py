"""A lake on a real store whose rows are known: filled as the daemon fills it, read as a stranger would."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from msgspec import structs

from ingestd.config import options as cfg
from ingestd.lake.identity import check_identity
from ingestd.lake.merging.compaction import Compactor, Done, batches
from ingestd.lake.merging.ledger import Ledger, open_ledger, prepare
from ingestd.lake.open import open_place
from ingestd.lake.settle import settle
from ingestd.lake.writing.writer import LakeWriter
from ingestd.stores.manifest import LakeFile
from tests.sinks.contracts import decoded, pipeline_of, records_of

COLUMNS = {"id": "int8", "kind": "text", "amount": "numeric(10,2)"}


def lake_pipeline(root: Path | str, columns: dict[str, str] | None = None, **lake: Any) -> cfg.Pipeline:
    """A pipeline with a lake at `root`, a directory or an S3 URL, by kind."""
    options = {"partition_by": ["kind"], "sort_by": ["amount"], "compact": {"min_files": 2}, **lake}
    return pipeline_of(columns or COLUMNS, mode="append", lake={"path": str(root), **options})


def ledger_of(options: cfg.Store, pipeline: cfg.Pipeline) -> Ledger:
    """A session of its own, with the lake's tables."""
    ledger = open_ledger(options, pipeline)
    prepare(ledger)
    return ledger


class SmallLake:
    """One lake, its writer, and who compacts it."""

    def __init__(self, url: str, pipeline: cfg.Pipeline):
        assert pipeline.lake is not None
        self.options = cfg.Store(url=url, lock_timeout=cfg.Secs(5))
        self.pipeline = pipeline
        self.place = open_place(pipeline.lake)
        self.root = Path(pipeline.lake.path)
        self.ledger = ledger_of(self.options, pipeline)
        self.store, self.manifest = self.ledger.store, self.ledger.manifest
        check_identity(self.place, self.manifest, self.store.open())
        self.writer = LakeWriter(pipeline, self.place, pipeline.topic)
        self.rows = 0
        claimed = self.store.claim([0], lambda new, _: {p: (0, "id") for p in new})
        self._epochs = {one.partition: one.epoch for one in claimed}
        for one in claimed:
            self.writer.begin(one.partition, one.next_offset, one.epoch)
        self._numbers = itertools.count(1)

    def roll(self, values: Sequence[dict[str, Any]], settled: bool = True) -> None:
        """One commit of these records."""
        rows = decoded(self.pipeline, records_of(values, self.rows))
        self.writer.add(rows)
        sealed = self.writer.seal(0)
        with self.store.transaction([sealed.tile], self._epochs) as tx:
            tx.counts[0].records = len(values)
            tx.counts[0].inserted = len(values)
            self.manifest.add(tx.cursor, sealed.files)
        self.writer.committed(0)
        self.rows += len(values)
        if settled:
            self.settle()

    def settle(self) -> bool:
        """As at each turn of a worker."""
        found = self.manifest.unsettled(self.store.open(), self.pipeline.topic, [0])
        return settle(self.place, self.manifest, self.store.open(), found)

    def fill(self, rolls: int, rows: int = 4, kinds: Sequence[str] = ("a", "b")) -> None:
        """So many commits of so many rows of each kind; every id once."""
        for _ in range(rolls):
            self.roll(
                [{"id": next(self._numbers), "kind": kind, "amount": "1.50"} for kind in kinds for _ in range(rows)]
            )

    def compactor(self, pipeline: cfg.Pipeline | None = None, ledger: Ledger | None = None) -> Compactor:
        return Compactor(pipeline or self.pipeline, self.place, ledger or self.ledger)

    def compact(self, compactor: Compactor | None = None) -> list[Done]:
        """As the command does it."""
        mine = compactor or self.compactor()
        assert self.ledger.lock.take() is None
        try:
            mine.recover()
            return [mine.run(batch) for batch in batches(mine.plan())]
        finally:
            self.ledger.lock.release()

    def files(self) -> list[LakeFile]:
        return self.manifest.files(self.store.open())

    def on_disk(self, below: str = "") -> list[str]:
        """Every file below the root but the identity and the lock."""
        skipped = {self.root / "_ingestd.json", self.root / "_staging" / ".lock"}
        found = [path for path in (self.root / below).rglob("*") if path.is_file() and path not in skipped]
        return sorted(path.relative_to(self.root).as_posix() for path in found)

    def ids(self) -> list[int]:
        """By a plain glob, in order; one that is there twice is there twice."""
        return ids(f"{self.root}/**/*.parquet")

    def manifest_ids(self) -> list[int]:
        """Through the manifest."""
        return ids([str(self.root / file.key) for file in self.files()])

    def restart(self) -> None:
        """New sessions, as after a crash."""
        self.store.close()
        self.ledger = ledger_of(self.options, self.pipeline)
        self.store, self.manifest = self.ledger.store, self.ledger.manifest

    def close(self) -> None:
        self.writer.discard()
        self.ledger.lock.release()
        self.store.close()


def ids(files: str | list[str]) -> list[int]:
    """Of these files; with a connection of its own, so that nothing is remembered."""
    with duckdb.connect() as connection:
        query = "SELECT id FROM read_parquet($files, hive_partitioning = false) ORDER BY id"
        return [row[0] for row in connection.execute(query, {"files": files}).fetchall()]


def with_lake(pipeline: cfg.Pipeline, **lake: Any) -> cfg.Pipeline:
    """The pipeline with other options of the lake."""
    assert pipeline.lake is not None
    return structs.replace(pipeline, lake=structs.replace(pipeline.lake, **lake))
