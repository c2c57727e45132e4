"""Temporary directories of processes that were killed: the next one removes them, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingestd.lake.places.spool import PREFIX, Spool
from ingestd.lake.reading.session import SPILL, Limits, Session
from ingestd.lake.temporary import remove_leftovers

_SPOOL = "from ingestd.lake.places.spool import Spool; s = Spool(); print(s.create('a/b'), flush=True)"
_QUERY = """
from ingestd.lake.reading.session import Limits, Session
with Session(Limits(memory_bytes=64 << 20, threads=1)) as session:
    session.ask("SELECT range AS n, repeat('x', 100) || range AS t FROM range(2_000_000) ORDER BY hash(range)")
    print(next(p for p in session._spill.path.iterdir() if p.name != ".lock"), flush=True)
    import time; time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def started(code: str, tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process, and the file that it says it has made."""
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


@pytest.mark.parametrize(
    ("code", "prefix"), [(_SPOOL + "; import time; time.sleep(60)", PREFIX), (_QUERY, SPILL)], ids=["spool", "query"]
)
def test_directory_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(
    tmp_path: Path, code: str, prefix: str
) -> None:
    child, path = started(code, tmp_path)
    with child:
        assert path.is_file() and remove_leftovers(tmp_path, prefix) == 0
        child.kill()
    assert path.is_file()
    (tmp_path / f"{prefix}young").mkdir()
    (tmp_path / f"{prefix}old").mkdir()
    os.utime(tmp_path / f"{prefix}old", (time.time() - 3600,) * 2)
    assert remove_leftovers(tmp_path, prefix) == 2
    assert [found.name for found in tmp_path.iterdir()] == [f"{prefix}young"]


def test_query_leaves_nothing_and_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    child, path = started(_QUERY, tmp_path)
    with child:
        child.kill()
    assert path.is_file()
    with Session(Limits()):
        assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_spool_ends_with_its_owner(tmp_path: Path) -> None:
    spool = Spool()
    assert spool.create("a/b").exists()
    del spool
    assert list(tmp_path.iterdir()) == []


def test_leftover_is_not_followed_to_where_it_points(tmp_path: Path) -> None:
    (tmp_path / f"{SPILL}x").mkdir()
    (tmp_path / f"{SPILL}x" / ".lock").symlink_to(tmp_path / "made")
    os.utime(tmp_path / f"{SPILL}x", (time.time() - 3600,) * 2)
    remove_leftovers(tmp_path, SPILL)
    assert not (tmp_path / "made").exists()
