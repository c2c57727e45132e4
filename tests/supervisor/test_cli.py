"""The command line itself: errors, exit codes, the reference page."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingestd import __version__, cli
from ingestd.errors import ExitCode
from ingestd.reference import cli as cli_reference

ROOT = Path(__file__).parents[2]


def ingestd(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ingestd.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=60,
    )


def test_reference_page_is_current() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == cli_reference.render(), "run: python -m ingestd.reference.cli > docs/cli.md"


def test_reference_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert cli_reference.render() == (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_reference_page_names_every_command_and_exit_code() -> None:
    page = cli_reference.render()
    assert all(f"## ingestd {command}\n" in page for command in cli.COMMANDS)
    assert all(f"| {code.value} | {code.name} | " in page for code in ExitCode)


def test_version_is_printed() -> None:
    assert ingestd("--version").stdout == f"ingestd {__version__}\n"


def test_broken_configuration_is_one_line_per_problem_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text('[kafka]\nbootstrap_server = "x"\n')
    answer = ingestd("run", "--config", tmp_path / "f.toml")
    lines = answer.stderr.splitlines()
    assert answer.returncode == ExitCode.USAGE
    assert len(lines) > 1
    assert all(line.startswith("ingestd: error: ") for line in lines)


def test_unknown_command_is_a_usage_error_without_traceback() -> None:
    answer = ingestd("fly")
    assert answer.returncode == ExitCode.USAGE
    assert "Traceback" not in answer.stderr


def test_reader_that_goes_away_is_no_error() -> None:
    script = f"{sys.executable} -m ingestd.cli --help | true; echo ${{PIPESTATUS[0]}}"
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in answer.stderr
    assert "Exception" not in answer.stderr
