"""The fixtures of the lake's tests: an empty store of each kind."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.fix_servers import MakeTopic
from tests.lake.flow import LakeFlow, destroying
from tests.lake.stores import Ask, asking

MakeFlow = Callable[..., LakeFlow]


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


@pytest.fixture
def flow(kafka: KafkaServer, url: str, topic: MakeTopic, tmp_path: Path) -> Iterator[MakeFlow]:
    """`flow(partitions=1, **pipeline)`: a topic and its pipeline, on both stores; its workers end with the test."""
    with contextlib.ExitStack() as made:

        def make(partitions: int = 1, **pipeline: Any) -> LakeFlow:
            one = LakeFlow(kafka.bootstrap_servers, url, topic(partitions), tmp_path / "lake", **pipeline)
            return made.enter_context(destroying(one))

        yield make
