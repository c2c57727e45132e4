"""The fixture of these tests: a supervisor process over fake children."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.daemon_process import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Not started yet; killed after the test."""
    one = Daemon(tmp_path)
    yield one
    if one.process is not None:
        one.process.kill()
        one.process.wait()
