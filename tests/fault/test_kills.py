"""kill -9 of every process of the daemon, in turn and again and again, while records flow."""

import os
import random
import signal
import time

import pytest

from tests.fault.conftest import MakeFlow
from tests.fault.flow import since

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("mode", ["append", "insert"])
def test_killed_workers_lose_and_double_nothing(flow: MakeFlow, mixed_log: str, mode: str) -> None:
    """In mode append nothing but the cursor stands between a kill and a doubled row."""
    here = flow(mixed_log, mode=mode)
    here.throttle(0.3)
    daemon = here.start()
    here.wait_for_progress(1)
    for _ in range(12):
        daemon.wait(lambda: len(daemon.workers()) == 4, "four workers")
        here.inject(lambda: os.kill(random.choice(daemon.workers()), signal.SIGKILL))
        here.wait_for_progress(random.randrange(1, 6000))
    verdict = here.finish()
    assert verdict.problems == []
    assert here.tally.faults == 12
    assert verdict.dead > 0
    assert mode == "append" or verdict.duplicates > 0


def test_killed_supervisor_takes_all_with_it_and_the_next_one_goes_on(flow: MakeFlow, mixed_log: str) -> None:
    here = flow(mixed_log, mode="append")
    here.throttle(0.3)
    for _ in range(4):
        daemon = here.start()
        began = time.monotonic()
        here.wait_for_progress(4000)
        here.note(f"4,000 records were committed {since(began)} s after the start")
        here.inject(lambda: os.kill(daemon.pid, signal.SIGKILL))  # noqa: B023
        began = time.monotonic()
        daemon.wait(lambda: not daemon.pids(), "the end of all its children", 5)  # noqa: B023
        here.note(f"no process was left {since(began)} s after the kill")
        daemon.process.wait()
    here.start()
    assert here.finish().problems == []


def test_killed_membership_is_no_revoke(flow: MakeFlow, mixed_log: str) -> None:
    """The workers go on: the same processes, and they commit while there is no membership."""
    here = flow(mixed_log, mode="append")
    here.throttle(0.2)
    daemon = here.start()
    here.wait_for_progress(1000)
    daemon.wait(lambda: len(daemon.workers()) == 4, "four workers")
    workers = daemon.workers()
    for _ in range(3):
        here.inject(lambda: os.kill(daemon.pids("ingestd-member")[0], signal.SIGKILL))
        here.wait_for_each(here.cursors())
        daemon.wait(lambda: daemon.pids("ingestd-member"), "a new membership")
        here.wait_for_each(here.cursors())
    assert daemon.workers() == workers
    assert here.finish().problems == []
