"""What is installed elsewhere holds everything that the code opens: SQL, page, type marker, licence."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel that was built from a copy, as the image does it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "ingestd", source / "ingestd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_every_file_of_the_package(wheel_files: set[str]) -> None:
    package = (path for path in (ROOT / "ingestd").rglob("*") if path.is_file() and path.suffix != ".pyc")
    wanted = {str(path.relative_to(ROOT)) for path in package}
    assert {"ingestd/py.typed", "ingestd/sql/ledger.sql", "ingestd/status/page.html"} <= wanted
    assert wanted - wheel_files == set()


def test_wheel_holds_the_licence_and_no_test(wheel_files: set[str]) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in wheel_files)
    assert [name for name in wheel_files if name.startswith(("tests", "bench", "scripts"))] == []
