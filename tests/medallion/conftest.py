"""What the tests of stage and current need: a store, a place for files, and both read back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestd.config import options as cfg
from ingestd.medallion.chain import Chain
from ingestd.medallion.current import Merged, Refused
from ingestd.stores.medallion import StageUnit
from tests.medallion.source import Runs, bronze

Made = tuple[list[StageUnit], list[Merged | Refused]]


@pytest.fixture
def metadata(tmp_path: Path) -> cfg.Store:
    return cfg.Store(url=f"sqlite:///{tmp_path}/metadata.db")


@pytest.fixture
def runs(tmp_path: Path, metadata: cfg.Store) -> Runs:
    return Runs(tmp_path, metadata)


@pytest.fixture
def make(tmp_path: Path, metadata: cfg.Store) -> Iterator[Callable[..., Made]]:
    """`make(*tables, **options)` stages what is compacted, and merges what is staged."""
    opened: list[Chain] = []

    def run(*tables: cfg.MedallionTable, **options: Any) -> Made:
        opened.append(Chain(metadata, bronze(tmp_path, *tables, **options)))
        return list(opened[-1].stage()), list(opened[-1].current())

    yield run
    for chain in opened:
        chain.close()


def current(root: Path, table: str = "customers", names: str = "id, name, notes") -> dict[Any, dict[str, Any]]:
    """The rows of a current table by id, as plain DuckDB reads them."""
    found = duckdb.sql(f"SELECT {names} FROM '{root}/current/{table}/*.parquet'").fetchall()
    columns = [name.strip() for name in names.split(",")]
    rows = [dict(zip(columns, row, strict=True)) for row in found]
    assert len({row["id"] for row in rows}) == len(rows), "a key has two rows"
    return {row["id"]: row for row in rows}


def stage(root: Path, query: str, table: str = "customers") -> list[Any]:
    """The answer to a query about `stage`, all files of one stage table."""
    source = f"read_parquet('{root}/stage/{table}/**/*.parquet', union_by_name = true)"
    return duckdb.sql(f"WITH stage AS (FROM {source}) {query}").fetchall()


def contents(*directories: Path) -> dict[str, bytes]:
    """Every file below these by its name."""
    return {
        str(path): path.read_bytes()
        for directory in directories
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
