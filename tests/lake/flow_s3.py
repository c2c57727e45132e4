"""A flow whose lake is in a bucket: the same questions, asked of the object store."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ingestd.lake.places.s3 import S3Place
from tests.lake.flow import LakeFlow


class BucketFlow(LakeFlow):
    """One pipeline `p` with a lake at `s3_url`; `directory` is for its configuration file."""

    def __init__(self, bootstrap: str, url: str, topic: str, directory: Path, s3_url: str, **pipeline: Any):
        super().__init__(bootstrap, url, topic, directory / "lake", **pipeline)
        self.pipeline["lake"]["path"] = s3_url
        self.place = S3Place(s3_url)

    def keys(self, below: str = "") -> list[str]:
        """Of every object of the lake, or of those that are staged."""
        return sorted(found.key for found in self.place.list(below))

    def rows(self) -> list[dict[str, Any]]:
        """Every row of every visible object."""
        return [row for key in self.keys() for row in self._table(key)]

    def _table(self, key: str) -> list[dict[str, Any]]:
        with closing(self.place.read(key)) as file:
            found: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
            return found

    def check_files(self) -> int:
        found = {key: len(self._table(key)) for key in self.keys()}
        assert found == self.manifest()
        assert self.keys("_staging") == []
        assert self.ask("SELECT count(*) FROM LEDGER.lake_files WHERE state = 'committed'") == [(0,)]
        return sum(found.values())
