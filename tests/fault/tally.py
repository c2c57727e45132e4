"""What the fault tests counted, gathered from every test process and printed at the end of the run.

A plugin of the whole run: the process that prints collects no tests itself.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.fault.checker import Verdict


@dataclass
class Tally:
    """One for each flow."""

    name: str
    faults: int = 0
    verdict: Verdict | None = None
    notes: list[str] = field(default_factory=list)


TALLIES = pytest.StashKey[list[Tally]]()


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """A file is run by one process, and so are all fault tests together: each of them keeps both cores busy."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/fault" if file.startswith("tests/fault/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which process runs what. The groups of xdist 3.8 are lost with pytest 9.2."""
    return _ByFile(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In one process of several: hand what was counted to the one that prints."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["tallies"] = msgspec.json.encode(session.config.stash.get(TALLIES, [])).decode()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a test process counted."""
    counted = getattr(node, "workeroutput", {}).get("tallies", "[]")
    node.config.stash.setdefault(TALLIES, []).extend(msgspec.json.decode(counted, type=list[Tally]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tallies = [one for one in config.stash.get(TALLIES, []) if one.verdict is not None]
    if not tallies:
        return
    terminalreporter.section("faults")
    line = "{:<66} {:>7} {:>9} {:>6} {:>8}"
    terminalreporter.line(line.format("fault", "faults", "records", "lost", "doubled"))
    sums = [0, 0, 0, 0]
    for one in tallies:
        assert one.verdict is not None
        row = (one.faults, one.verdict.records, one.verdict.lost, one.verdict.doubled)
        is_sabotage = one.name.startswith("sabotaged")
        sums = sums if is_sabotage else [left + right for left, right in zip(sums, row, strict=True)]
        terminalreporter.line(line.format(one.name[:66] + (" *" if is_sabotage else ""), *row))
        for note in one.notes:
            terminalreporter.line(f"    {note}")
    terminalreporter.line(line.format("all (without *: built wrong on purpose)", *sums))
