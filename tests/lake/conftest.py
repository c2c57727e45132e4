"""The fixtures of the lake's tests: an empty store of each kind."""

from pathlib import Path

import pytest

from tests.lake.stores import Ask, asking


@pytest.fixture(params=["postgres", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database of each kind."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ask(url: str) -> Ask:
    """`ask(query)`: its rows, on a connection of its own."""
    return asking(url)
