"""The schema registry of the whole test run; started by the first test that asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry_server import RegistryServer


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A real registry, kept in memory."""
    directory: Path = tmp_path_factory.mktemp("registry")
    server = RegistryServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
