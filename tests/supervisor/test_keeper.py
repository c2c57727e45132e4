"""The keeper runs when the configuration gives it something to do, and disturbs nobody when it fails."""

import os
import signal

from tests.supervisor.daemon_process import Daemon


def test_no_keeper_without_anything_to_keep(daemon: Daemon) -> None:
    daemon.start()
    daemon.wait(lambda: bool(daemon.events("status", "start")), "the status process")
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    assert daemon.events("keeper", "start") == []


def test_keeper_that_is_killed_starts_again_and_no_worker_notices(daemon: Daemon) -> None:
    daemon.start(dead_letter_topic="dead", workers={"restart_backoff": 0.05})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.wait(lambda: bool(daemon.events("keeper", "start")), "the keeper")
    os.kill(daemon.events("keeper", "start")[0]["pid"], signal.SIGKILL)
    daemon.wait(lambda: len(daemon.events("keeper", "start")) == 2, "the next keeper")
    assert len(daemon.starts(0)) == 1
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0
    assert len(daemon.events("keeper", "end")) == 1


def test_keeper_that_cannot_work_does_not_end_the_daemon(daemon: Daemon) -> None:
    (daemon.control / "keeper-halts").touch()
    daemon.start(dead_letter_topic="dead", workers={"restart_backoff": 0.01})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.wait(lambda: len(daemon.events("keeper", "start")) >= 4, "more attempts")
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0
