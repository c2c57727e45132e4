"""This suite can fail: a daemon whose cursor is not in the transaction of its rows is found out."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.fault.checker import Verdict
from tests.fault.conftest import MakeFlow
from tests.fault.daemon import Daemon

pytestmark = pytest.mark.fault

PROGRAM = Path(__file__).with_name("sabotaged.py")


def kill_all(daemon: Daemon) -> None:
    for pid in daemon.workers():
        os.kill(pid, signal.SIGKILL)


def verdict_on(flow: MakeFlow, topic: str, order: str) -> Verdict:
    here = flow(topic, mode="append", has_check=False)
    here.throttle(0.2)
    daemon = here.start(command=[sys.executable, str(PROGRAM), order])
    for _ in range(4):
        here.wait_for_progress(5000)
        daemon.wait(lambda: len(daemon.workers()) == 4, "four workers")
        here.inject(lambda: kill_all(daemon))
    return here.finish()


def test_sabotaged_cursor_before_its_rows_is_found_to_lose(flow: MakeFlow, plain_log: str) -> None:
    verdict = verdict_on(flow, plain_log, "before")
    assert verdict.lost > 0
    assert verdict.problems


def test_sabotaged_cursor_after_its_rows_is_found_to_double(flow: MakeFlow, plain_log: str) -> None:
    verdict = verdict_on(flow, plain_log, "after")
    assert verdict.doubled > 0
    assert verdict.lost == 0
