"""A topic, a store, a lake and its workers, seen from a test: what is in the lake, and what should be."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from tests.lake.stores import asking
from tests.worker.worker_process import WorkerProcess

KINDS = ("a", "b", "c")


def records(first: int, count: int) -> list[bytes | str | None]:
    """Valid records with these ids."""
    return [orjson.dumps({"id": n, "kind": KINDS[n % 3]}) for n in range(first, first + count)]


def _options(options: dict[str, Any]) -> str:
    return "".join(f"{name} = {_inline(value)}\n" for name, value in options.items())


def _inline(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_inline(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return orjson.dumps(value).decode()


class LakeFlow:
    """One pipeline `p` with a lake, on one topic."""

    def __init__(self, bootstrap: str, url: str, topic: str, root: Path, max_rows: int = 500, **pipeline: Any):
        self.root = root
        self.ask = asking(url)
        self.url = url
        self.topic = topic
        self.workers: list[WorkerProcess] = []
        self.pipeline: dict[str, Any] = {
            "name": "p",
            "topic": topic,
            "batch": {"max_rows": 250},
            "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
            "column": [
                {"name": "id", "type": "int4", "required": True},
                {"name": "kind", "type": "text"},
                {"name": "part", "type": "int4", "source": "partition"},
                {"name": "at", "type": "int8", "source": "offset"},
            ],
            "lake": {"path": str(root), "partition_by": ["kind"], "roll": {"max_rows": max_rows}},
            **pipeline,
        }
        self._bootstrap = bootstrap

    def config(self) -> dict[str, Any]:
        return {
            "kafka": {"bootstrap_servers": self._bootstrap, "group_id": f"group-{self.topic}"},
            "store": {"url": self.url},
            "pipeline": [self.pipeline],
        }

    def file(self) -> str:
        """The same as a configuration file, for commands."""
        path = self.root.parent / "ingestd.toml"
        lines = [f"[{name}]\n" + _options(part) for name, part in self.config().items() if name != "pipeline"]
        path.write_text("\n".join([*lines, "[[pipeline]]\n" + _options(self.pipeline)]))
        return str(path)

    def start(self, partitions: tuple[int, ...] = (0,), patch: str = "") -> WorkerProcess:
        self.workers.append(WorkerProcess(self.config(), list(partitions), patch))
        return self.workers[-1]

    def stop(self, worker: WorkerProcess) -> None:
        """In peace: whatever is open is rolled."""
        worker.process.terminate()
        assert worker.exit_code(60) == 0, worker.errors

    def cursors(self, group: str = "lake") -> dict[int, int]:
        """Next offset by partition; empty before the first claim."""
        with contextlib.suppress(Exception):
            query = f"SELECT partition, next_offset FROM LEDGER.cursors WHERE sink_group = '{group}'"
            return dict(self.ask(query))
        return {}

    def rows(self) -> list[dict[str, Any]]:
        """Every row that a plain glob finds, in the order of the files' names."""
        return [row for path in self.files() for row in pq.ParquetFile(path).read().to_pylist()]

    def ids(self) -> list[int]:
        return sorted(row["id"] for row in self.rows())

    def files(self) -> list[Path]:
        return sorted(self.root.glob("**/*.parquet"))

    def staged(self) -> list[Path]:
        """What is left over of files that nobody committed."""
        return sorted(self.root.glob("_staging/**/*.staged"))

    def manifest(self) -> dict[str, int]:
        """Key -> rows of the files that are part of the lake."""
        query = "SELECT directory, name, rows FROM LEDGER.lake_files WHERE state <> 'replaced'"
        return {f"{directory}/{name}".removeprefix("/"): rows for directory, name, rows in self.ask(query)}

    def check_files(self) -> int:
        """Nothing is open or left over, and the files are the manifest's; how many rows they have."""
        found = {path.relative_to(self.root).as_posix(): pq.read_metadata(path).num_rows for path in self.files()}
        assert found == self.manifest()
        assert self.staged() == []
        assert self.ask("SELECT count(*) FROM LEDGER.lake_files WHERE state = 'committed'") == [(0,)]
        return sum(found.values())

    def check(self) -> None:
        """Files, manifest and the lake's own counts agree; nothing was redriven."""
        rows = self.check_files()
        counted = "SELECT sum(records), sum(inserted + duplicates + dead + passed), sum(inserted) FROM LEDGER.cursors"
        ((delivered, fates, inserted),) = self.ask(f"{counted} WHERE sink_group = 'lake'")
        assert delivered == fates
        assert inserted == rows


@contextlib.contextmanager
def destroying(flow: LakeFlow) -> Iterator[LakeFlow]:
    """The flow; whatever is left of its workers is ended."""
    try:
        yield flow
    finally:
        for worker in flow.workers:
            worker.end()
