"""Servers for the benchmarks, with default settings (fsync on): the tests' own servers would flatter."""

from collections.abc import Iterator

import pytest

from bench.servers import Servers, running_servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """A broker and a database for the whole run."""
    with running_servers() as started:
        yield started
