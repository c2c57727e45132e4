"""The fixtures of the query tests: a lake beside a store of each kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.query.lakes import MadeLake, lake_config


@pytest.fixture(params=["postgres", "sqlite"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def lake(store_url: str, tmp_path: Path) -> Iterator[MadeLake]:
    made = MadeLake(lake_config(tmp_path, store_url))
    yield made
    made.close()
