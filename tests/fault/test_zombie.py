"""A whole daemon stopped in the middle of COPY, a second one that takes over, and the first one waking up."""

import os
import signal
import time

import pytest

from tests.fault.conftest import MakeFlow
from tests.fault.daemon import Daemon, wait_for
from tests.fault.flow import Flow, since, wait_for_backend

pytestmark = pytest.mark.fault

MID_COPY = "query LIKE 'COPY%sink%' AND state = 'active' AND wait_event = 'ClientRead'"
SESSION_SECS = 3
"""session.timeout.ms of the configuration: only after it the group gives a stopped member's partitions away."""


def stop_in_copy(here: Flow, daemon: Daemon) -> int:
    """Stop every process of the daemon such that the server waits for the rest of a COPY; the session's pid."""
    for _ in range(100):
        wait_for_backend(here, "query LIKE 'COPY%sink%' AND state = 'active'")
        daemon.signal(signal.SIGSTOP, whole=True)
        with here.connect() as connection:
            # The server first reads what the sockets between hold.
            connection.execute("SELECT pg_sleep(0.15)")
            found = connection.execute(f"SELECT pid FROM pg_stat_activity WHERE {MID_COPY}").fetchall()
        if found:
            return int(found[0][0])
        daemon.signal(signal.SIGCONT, whole=True)
    raise AssertionError("no COPY was caught in the middle")


def test_zombie_stopped_in_copy_cannot_commit_nor_hold_up_the_new_owner(flow: MakeFlow, plain_log: str) -> None:
    """COPY goes straight into the table here: what the zombie wrote holds the keys that the new owner must write."""
    here = flow(plain_log, mode="insert", has_check=False, max_rows=3000)
    here.throttle(0.05)
    zombie = here.start("zombie")
    zombie.wait(lambda: len(zombie.events("claimed")) == 4, "four claims")
    here.wait_for_progress(1)
    workers = zombie.workers()
    session = stop_in_copy(here, zombie)
    began = time.monotonic()
    here.throttle(0.6)
    before = here.cursors()
    here.inject(lambda: None)
    owner = here.start("owner")
    owner.wait(lambda: len(owner.events("claimed")) >= 4, "four claims")
    claimed = since(began)
    here.wait_for_each(before)
    first_commit = since(began)
    here.note(f"partitions claimed {claimed} s, each committed by the new owner {first_commit} s after the stop")
    here.note(f"(of which {SESSION_SECS} s is the group's session timeout)")
    assert first_commit - claimed < 10
    with here.connect() as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (session,)).fetchone()
    assert left == (0,), "the stopped session was not ended"
    here.inject(lambda: zombie.signal(signal.SIGCONT, whole=True))
    took = zombie.wait(lambda: not set(workers) & set(zombie.workers()), "the end of the zombie's workers")
    here.note(f"the zombie's workers were gone {took:.2f} s after it went on")
    here.wait_for_progress(5000)
    assert here.finish().problems == []
    assert not owner.events("lease lost"), "the zombie stole partitions back"


def test_zombie_worker_alone_does_not_hold_up_the_next_one(flow: MakeFlow, plain_log: str) -> None:
    """The worker is stopped, then killed by nobody: a daemon of another host, told so by the group, goes on."""
    here = flow(plain_log, mode="append", has_check=False, max_rows=5000)
    here.throttle(0.2)
    zombie = here.start("zombie")
    zombie.wait(lambda: len(zombie.events("claimed")) == 4, "four claims")
    here.wait_for_progress(1)
    here.inject(lambda: zombie.signal(signal.SIGSTOP, whole=True))
    stopped = here.cursors()
    owner = here.start("owner")
    here.wait_for_each(stopped)
    for pid in zombie.workers():
        os.kill(pid, signal.SIGCONT)
    here.tally.faults += 1
    wait_for(lambda: len(zombie.events("lease lost")) >= 1, "lease lost", 30, zombie.log)
    zombie.signal(signal.SIGCONT, whole=True)
    assert here.finish().problems == []
    assert not owner.events("lease lost")
