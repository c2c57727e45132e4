"""Somebody who reads the lake by a plain glob all the while, as DuckDB does, and believes what he sees."""

import threading
from types import TracebackType
from typing import Self

import duckdb

from tests.lake.flow import LakeFlow


class GlobReader(threading.Thread):
    """Counts over `**/*.parquet` until the block ends; what was ever wrong is in `wrong`."""

    def __init__(self, flow: LakeFlow):
        super().__init__(daemon=True)
        self._flow = flow
        self._ending = threading.Event()
        self.wrong: list[str] = []
        self.looks = 0
        self.most = 0
        """Rows that were seen at most."""

    def run(self) -> None:
        question = (
            'SELECT count(*), count(DISTINCT (part, "at")), list(DISTINCT filename)'
            f" FROM read_parquet('{self._flow.root}/**/*.parquet', filename = true, union_by_name = true)"
        )
        with duckdb.connect() as connection:
            while not self._ending.is_set() and not self.wrong:
                if not self._flow.files():
                    self._ending.wait(0.005)
                    continue
                found = connection.execute(question).fetchone()
                assert found is not None
                self._judge(*found)
                self.looks += 1

    def _judge(self, rows: int, records: int, files: list[str]) -> None:
        if rows != records:
            self.wrong.append(f"{rows} rows of {records} records")
        if rows < self.most:
            self.wrong.append(f"{rows} rows after {self.most}")
        self.most = max(self.most, rows)
        # Asked after the glob: what was visible then is committed by now.
        keys = {name.removeprefix(f"{self._flow.root}/") for name in files}
        if uncommitted := keys - self._flow.manifest().keys():
            self.wrong.append(f"visible, but not committed: {uncommitted}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.set()
        self.join(30)
