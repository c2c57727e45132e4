"""`.ci/run` fails for what is wrong with the project, never for the timing of a pipe."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# These end before their input does: whoever still writes to them gets SIGPIPE, and under `pipefail` the script ends.
ENDS_EARLY = re.compile(r"\|\s*(head\b|sed\s+(-\S+\s+)*['\"]?\d*q|grep\s+(-\S*\s+)*-\w*[qm])")


def early_enders(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if ENDS_EARLY.search(line)]


def test_no_pipe_of_the_ci_script_ends_before_its_writer() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "pipefail" in text
    assert early_enders(text) == []


@pytest.mark.parametrize("line", ["make --version | head -1", "x | sed 1q", "x | grep -q y", "x | grep -i -m 1 y"])
def test_a_pipe_that_ends_early_is_found(line: str) -> None:
    assert early_enders(f"set -o pipefail\n{line}\n") == [line]
