"""`make` finds a Python that is new enough, or says in words what to install."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def path_with(tmp_path: Path) -> Path:
    """A folder to be the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def find_python(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh") or "/bin/sh"
    command = [shell, str(ROOT / "scripts" / "python")]
    environment = {"PATH": str(path), **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_machine_without_a_new_python_is_told_what_to_install(path_with: Path) -> None:
    executable(path_with / "python3", "#!/bin/sh\nexit 1\n")
    done = find_python(path_with)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Python 3.11 or newer" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr


def test_an_older_python3_is_passed_over_for_a_newer_one(path_with: Path) -> None:
    executable(path_with / "python3", "#!/bin/sh\nexit 1\n")
    executable(path_with / "python3.12", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert find_python(path_with).stdout.strip() == str(path_with / "python3.12")


def test_the_variable_python_goes_first(path_with: Path) -> None:
    executable(path_with / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    executable(path_with / "mine", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    assert find_python(path_with, PYTHON="mine").stdout.strip() == str(path_with / "mine")


def test_make_without_a_target_lists_the_targets() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    for target in ("demo", "test", "lint", "bench", "docs", "lock", "clean"):
        assert f"make {target} " in done.stdout
