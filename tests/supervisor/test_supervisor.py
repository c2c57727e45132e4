"""The supervisor with fake children: starting, restarting, stopping."""

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from tests.supervisor.daemon_process import Daemon, is_alive


def test_a_worker_is_started_for_every_assigned_partition(daemon: Daemon) -> None:
    daemon.start()
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 1)
    daemon.wait_for_starts(1, 1)
    daemon.wait(lambda: "ready" in daemon.log(), "ready")
    assert len(daemon.events("worker", "start")) == 2


def test_crashed_worker_restarts_with_growing_pauses_and_others_go_on(daemon: Daemon) -> None:
    daemon.mode(1, "exit 1")
    daemon.start(workers={"restart_backoff": 0.1})
    daemon.assign(0, 1)
    starts = daemon.wait_for_starts(1, 5)
    pauses = [after["at"] - before["at"] for before, after in pairwise(starts)]
    assert pauses[3] > 0.4 > 0.1 > 0.04 < pauses[0]
    assert len(daemon.starts(0)) == 1


def test_stuck_worker_dumps_its_stacks_and_is_replaced(daemon: Daemon) -> None:
    daemon.start(workers={"stuck_after": 0.5, "restart_backoff": 0.05})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.mode(0, "hang")
    daemon.wait(lambda: "child stuck" in daemon.log(), "the stuck worker to be seen")
    daemon.mode(0, "run")
    daemon.wait_for_starts(0, 2)
    assert "in fake_worker" in daemon.log()
    assert "SIGABRT" in daemon.log()


def test_stuck_worker_that_cannot_die_by_abort_is_killed(daemon: Daemon) -> None:
    daemon.start(workers={"stuck_after": 0.5, "restart_backoff": 0.05})
    daemon.assign(0)
    (first,) = daemon.wait_for_starts(0, 1)
    os.kill(first["pid"], signal.SIGSTOP)
    daemon.wait_for_starts(0, 2)
    assert "SIGKILL" in daemon.log()


def test_workers_go_on_while_the_status_page_cannot_have_its_port(daemon: Daemon) -> None:
    (daemon.control / "port-taken").touch()
    daemon.start(workers={"restart_backoff": 0.01})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.wait(lambda: len(daemon.events("status", "start")) >= 7, "more attempts than a failing worker has")
    assert not daemon.events("worker", "end")


def test_term_drains_workers_before_membership_and_status(daemon: Daemon) -> None:
    daemon.start()
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 1)
    daemon.wait_for_starts(1, 1)
    daemon.wait(lambda: bool(daemon.events("status", "start")), "the status process")
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0
    workers = [one["at"] for one in daemon.events("worker", "end")]
    (membership,), (status,) = daemon.events("membership", "end"), daemon.events("status", "end")
    assert len(workers) == 2
    assert max(workers) < membership["at"] < status["at"]


def test_worker_that_does_not_drain_in_time_is_killed_and_the_exit_code_says_so(daemon: Daemon) -> None:
    daemon.mode(0, "ignore term")
    daemon.start(workers={"drain_timeout": 0.3})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 6


def test_second_term_aborts_at_once(daemon: Daemon) -> None:
    daemon.mode(0, "ignore term")
    daemon.start(workers={"drain_timeout": 60})
    daemon.assign(0)
    (worker,) = daemon.wait_for_starts(0, 1)
    daemon.signal(signal.SIGTERM)
    daemon.wait(lambda: bool(daemon.events("worker", "term")), "TERM to reach the worker")
    daemon.wait(lambda: time.monotonic() > daemon.events("worker", "term")[0]["at"] + 0.7, "time between the two")
    daemon.signal(signal.SIGINT)
    assert daemon.exit_code() == 6
    assert not is_alive(worker["pid"])


def test_children_die_with_a_killed_supervisor(daemon: Daemon) -> None:
    daemon.start()
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 1)
    daemon.wait_for_starts(1, 1)
    daemon.wait(lambda: bool(daemon.events("status", "start")), "the status process")
    started = [one["pid"] for who in ("worker", "membership", "status") for one in daemon.events(who, "start")]
    daemon.signal(signal.SIGKILL)
    daemon.wait(lambda: not any(map(is_alive, started)), "all children to die")
    assert len(started) == 4


def test_worker_that_cannot_start_ends_the_daemon_with_its_code(daemon: Daemon) -> None:
    daemon.mode(0, "startup")
    daemon.start(workers={"restart_backoff": 0.05})
    daemon.assign(0)
    assert daemon.exit_code() == 3
    assert len(daemon.starts(0)) == 3


def test_reload_restarts_the_children_with_the_new_configuration(daemon: Daemon) -> None:
    daemon.start(group="old")
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    (daemon.control / "reload.json").write_text('{"broken": true}')
    daemon.signal(signal.SIGHUP)
    daemon.wait(lambda: "kafka.group_id: missing" in daemon.log(), "the refusal")
    (daemon.control / "reload.json").write_text('{"group": "new"}')
    daemon.signal(signal.SIGHUP)
    assert [one["group"] for one in daemon.wait_for_starts(0, 2)] == ["old", "new"]
    told = [one["order"] for one in daemon.events("membership", "told")]
    told += [order for one in daemon.events("membership", "end") for order in one["told"]]
    assert {"op": "stay"} in told
    assert len(daemon.events("membership", "start")) == 2


def test_service_manager_hears_ready_watchdog_reload_and_stop(daemon: Daemon, tmp_path: Path) -> None:
    heard = ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(10)
        daemon.start({"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "400000"}, group="g")
        while heard.count("WATCHDOG=1") < 3 or "READY=1" not in heard:
            heard += manager.recv(4096).decode() + "\n"
        (daemon.control / "reload.json").write_text("{}")
        daemon.signal(signal.SIGHUP)
        while heard.count("READY=1") < 2:
            heard += manager.recv(4096).decode() + "\n"
        daemon.signal(signal.SIGTERM)
        while "STOPPING=1" not in heard:
            heard += manager.recv(4096).decode() + "\n"
    assert "RELOADING=1\nMONOTONIC_USEC=" in heard


def test_secrets_and_environment_do_not_reach_the_log(daemon: Daemon) -> None:
    daemon.start()
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0
    assert "hidden-word" not in daemon.log()


def test_the_parent_loads_no_heavy_library() -> None:
    for module in ("ingestd.supervisor.loop", "ingestd.cli", "ingestd.commands.run"):
        probe = (
            f"import sys, {module}; print([m for m in ('confluent_kafka', 'psycopg', 'pyarrow') if m in sys.modules])"
        )
        answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == "[]", module
