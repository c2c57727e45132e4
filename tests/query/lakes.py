"""Lakes made by hand, without a daemon: the same directories, files and manifest, one commit at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingestd.config.file import load
from ingestd.config.options import Config, Pipeline
from ingestd.lake.layout import Layout, final_name, staged_key
from ingestd.lake.open import open_place
from ingestd.lake.settle import settle
from ingestd.lake.writing.footer import read_footer
from ingestd.lake.writing.schema import FileSchema
from ingestd.stores.manifest import LakeFile
from ingestd.stores.open import open_manifest, open_store
from ingestd.stores.store import LedgerKey

CONFIG = """
[kafka]
bootstrap_servers = "localhost:1"
group_id = "g"
[store]
url = "{url}"
[status]
listen = "127.0.0.1:0"
[[pipeline]]
name = "crm.events"
topic = "events"
column = [
  {{ name = "id", type = "int8" }},
  {{ name = "kind", type = "text" }},
  {{ name = "amount", type = "numeric(10,2)" }},
  {{ name = "ts", type = "timestamptz" }},
  {{ name = "tags", type = "text[]" }},
{columns}]
[pipeline.lake]
path = "{root}"
partition_by = ["kind", "year(ts)", "month(ts)"]
{options}
[[pipeline]]
name = "tables-only"
topic = "other"
column = [ {{ name = "id", type = "int8" }} ]
[pipeline.table]
name = "other"
"""


def lake_config(directory: Path, url: str, columns: str = "", options: str = "") -> Path:
    """The file of a configuration with one lake, partitioned by a text and the month of a timestamp."""
    path = directory / "ingestd.toml"
    path.write_text(CONFIG.format(url=url, root=directory / "lake", columns=columns, options=options))
    return path


class MadeLake:
    """The lake of a configuration's first pipeline; partition 0, tiles one after the other."""

    def __init__(self, file: Path, prepare: bool = True):
        self.file = file
        self.config: Config = load(file)
        self.pipeline: Pipeline = self.config.pipeline[0]
        assert self.pipeline.lake is not None
        self.place = open_place(self.pipeline.lake)
        self.manifest = open_manifest(self.config.store, self.pipeline)
        key = LedgerKey(self.pipeline.name, self.pipeline.topic, "lake")
        self.store = open_store(self.config.store, key)
        self._end = 0
        self._merged = 0
        if prepare:
            self.store.prepare()
            self.manifest.prepare(self.store.open())

    def close(self) -> None:
        self.store.close()

    def write(self, rows: Sequence[dict[str, Any]]) -> list[LakeFile]:
        """One staged file for each directory of these rows; no commit names them yet."""
        schema = FileSchema.of(self.pipeline).arrow
        batch = pa.RecordBatch.from_pylist(list(rows), schema=schema)
        where, directories = Layout(self.pipeline).directories(batch)
        start, self._end = self._end, self._end + len(rows)
        files = []
        for number, directory in enumerate(directories):
            part = pa.table(batch).filter(pa.array((where == number).tolist()))
            staged = staged_key(self.pipeline.name, self.pipeline.topic, 0, start, 1, number)
            scratch = self.place.scratch(staged)
            pq.write_table(part, scratch, store_schema=False)
            self.place.seal(scratch, staged)
            with self.place.read(staged) as opened:
                footer, nbytes = read_footer(opened), opened.size()
            name = final_name(self.pipeline.topic, 0, start, self._end, 1, number)
            files.append(
                LakeFile(
                    topic=self.pipeline.topic,
                    partition=0,
                    start=start,
                    end=self._end,
                    directory=directory,
                    name=name,
                    staged=staged,
                    rows=footer.rows,
                    nbytes=nbytes,
                    footer=footer.sha256,
                )
            )
        return files

    def commit(self, rows: Sequence[dict[str, Any]], settled: bool = True) -> None:
        """These rows are part of the lake, as a roll makes them; without `settled` the host died before it settled."""
        files = self.write(rows)
        with self.store.side_transaction() as tx:
            self.manifest.add(tx.cursor, files)
        if settled:
            self.settle()

    def settle(self) -> None:
        connection = self.store.open()
        settle(self.place, self.manifest, connection, self.manifest.unsettled(connection, self.pipeline.topic, []))

    def merge(self) -> None:
        """All files of each directory become one, and the old ones go at once: as compaction does, without its care."""
        files = self.manifest.files(self.store.open())
        for directory in {file.directory for file in files}:
            old = [file for file in files if file.directory == directory]
            if len(old) > 1:
                self._merge(directory, old)

    def _merge(self, directory: str, old: list[LakeFile]) -> None:
        tables = []
        for file in old:
            with self.place.read(file.key) as opened:
                tables.append(pq.read_table(opened))
        start, end = min(file.start for file in old), max(file.end for file in old)
        self._merged += 1
        name = final_name(self.pipeline.topic, 0, start, end, 2, self._merged)
        staged = f"_staging/compact/x/{name}.staged"
        scratch = self.place.scratch(staged)
        pq.write_table(pa.concat_tables(tables, promote_options="default"), scratch, store_schema=False)
        self.place.seal(scratch, staged)
        with self.place.read(staged) as opened:
            footer, nbytes = read_footer(opened), opened.size()
        merged = LakeFile(
            topic=self.pipeline.topic,
            partition=None,
            start=start,
            end=end,
            directory=directory,
            name=name,
            staged=staged,
            rows=footer.rows,
            nbytes=nbytes,
            footer=footer.sha256,
            made_by="compaction",
        )
        with self.store.side_transaction() as tx:
            self.manifest.replace(tx.cursor, [file.id for file in old])
            self.manifest.add(tx.cursor, [merged])
        self.place.publish(merged.staged, merged.key)
        connection = self.store.open()
        self.manifest.mark_settled(connection, [one.id for one in self.manifest.unsettled(connection, "", [])])
        for file in old:
            self.place.remove(file.key)


def event(number: int, **more: Any) -> dict[str, Any]:
    """A row of these lakes; its month depends on the number."""
    from datetime import UTC, datetime
    from decimal import Decimal

    return {
        "id": number,
        "kind": "abc"[number % 3],
        "amount": Decimal(number).scaleb(-2),
        "ts": datetime(2026, 1 + number % 2, 3, 4, 5, 6, 789, tzinfo=UTC),
        "tags": ["x", None] if number % 2 else [],
    } | more
