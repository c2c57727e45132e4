"""The stack runs as an ordinary user, and as root with PostgreSQL under a user of its own."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ingestd.embedded.jars import kafka_jars
from ingestd.embedded.stack import start_stack

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os
from pathlib import Path
from ingestd.embedded.stack import start_stack
with start_stack() as stack:
    for name, pid in stack.pids.items():
        print(name, Path(f"/proc/{pid}").stat().st_uid)
    directory = stack.directory
assert not directory.exists()
print("removed", os.getuid())
"""


def run_as(user: pwd.struct_passwd, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def interpreter_for(user: pwd.struct_passwd) -> str | None:
    """A Python that the user may run and that finds ingestd: ours may lie in a closed home directory."""
    candidates = [sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")]
    for candidate in filter(None, candidates):
        check = "import sys; assert sys.version_info >= (3, 11); import ingestd.embedded.guardian"
        try:
            done = run_as(user, [candidate, "-c", check], PYTHONPATH=python_path())
        except PermissionError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def python_path() -> str:
    return f"{ROOT}:{sysconfig.get_path('platlib')}"


@pytest.fixture
def open_cache() -> Iterator[Path]:
    """A copy of the warm cache that everybody can read and write."""
    directory = Path(tempfile.mkdtemp(prefix="ingestd-cache-"))
    shutil.copytree(kafka_jars(), directory / "ingestd" / kafka_jars().name)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test runs as an ordinary user already")
def test_the_stack_runs_as_an_ordinary_user(open_cache: Path) -> None:
    user = pwd.getpwnam("nobody")
    interpreter = interpreter_for(user)
    if interpreter is None:
        pytest.skip("no Python 3.11 that an ordinary user may run (ours lies in a closed directory)")
    environment = {"PYTHONPATH": python_path(), "XDG_CACHE_HOME": str(open_cache)}
    done = run_as(user, [interpreter, "-c", PROGRAM], **environment)
    assert (done.returncode, done.stderr) == (0, "")
    uid = user.pw_uid
    assert done.stdout.splitlines() == [f"guardian {uid}", f"kafka {uid}", f"postgres {uid}", f"removed {uid}"]


def test_no_postgres_process_runs_as_root() -> None:
    with start_stack(kafka=False) as stack:
        postmaster = psutil.Process(stack.pids["postgres"])
        users = {process.uids() for process in (postmaster, *postmaster.children())}
    assert all(0 not in ids for ids in users)
