"""The supervisor and the group: only a partition assigned now may get a worker."""

import os
import signal
import time

from tests.supervisor.daemon_process import Daemon, is_alive


def confirm_questions(daemon: Daemon) -> int:
    return sum(one["order"]["op"] == "confirm" for one in daemon.events("membership", "told"))


def drained(daemon: Daemon) -> list[int]:
    orders = [one["order"] for one in daemon.events("membership", "told")]
    return [order["seq"] for order in orders if order["op"] == "drained"]


def test_revoke_drains_the_worker_and_only_then_answers(daemon: Daemon) -> None:
    daemon.mode(0, "ignore term")
    daemon.start()
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 1)
    daemon.wait_for_starts(1, 1)
    daemon.say(event="revoking", seq=7, partitions=[["t", 0]])
    daemon.wait(lambda: bool(daemon.events("worker", "term")), "TERM to the worker")
    assert drained(daemon) == []
    daemon.mode(0, "run")
    daemon.wait(lambda: drained(daemon) == [7], "the answer")
    assert [one["partitions"] for one in daemon.events("worker", "end")] == [[0]]


def test_lost_partition_loses_its_worker_quickly(daemon: Daemon) -> None:
    daemon.mode(0, "ignore term")
    daemon.start(workers={"drain_timeout": 60})
    daemon.assign(0, 1)
    (worker,) = daemon.wait_for_starts(0, 1)
    daemon.say(event="lost", partitions=[["t", 0]])
    daemon.wait(lambda: not is_alive(worker["pid"]), "the worker's end", secs=5)


def test_fenced_worker_waits_for_a_fresh_confirmation(daemon: Daemon) -> None:
    daemon.mode(0, "exit 5")
    (daemon.control / "no-confirm").touch()
    daemon.start(workers={"restart_backoff": 0.05})
    daemon.assign(0)
    (first,) = daemon.wait_for_starts(0, 1)
    daemon.wait(lambda: confirm_questions(daemon) >= 2, "questions to the group")
    assert len(daemon.starts(0)) == 1
    assert time.monotonic() - first["at"] > 5
    daemon.mode(0, "run")
    (daemon.control / "no-confirm").unlink()
    daemon.wait_for_starts(0, 2)


def test_crashed_worker_whose_partition_moved_away_is_not_restarted(daemon: Daemon) -> None:
    (daemon.control / "no-confirm").touch()
    daemon.start(workers={"restart_backoff": 0.05})
    daemon.assign(0, 1)
    (worker,) = daemon.wait_for_starts(0, 1)
    os.kill(worker["pid"], signal.SIGKILL)
    daemon.wait(lambda: confirm_questions(daemon) >= 1, "a question to the group")
    daemon.assign(1)
    (daemon.control / "no-confirm").unlink()
    daemon.wait(lambda: "partitions assigned" in daemon.log().split("not confirmed")[-1], "the new assignment")
    os.kill(daemon.wait_for_starts(1, 1)[0]["pid"], signal.SIGKILL)
    daemon.wait_for_starts(1, 2)
    assert len(daemon.starts(0)) == 1


def test_halted_worker_is_not_restarted_until_its_partition_is_assigned_anew(daemon: Daemon) -> None:
    daemon.mode(0, "exit 4")
    daemon.start(workers={"restart_backoff": 0.05})
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 1)
    daemon.wait(lambda: "worker halted" in daemon.log(), "the halt")
    os.kill(daemon.wait_for_starts(1, 1)[0]["pid"], signal.SIGKILL)
    daemon.wait_for_starts(1, 2)
    assert len(daemon.starts(0)) == 1
    daemon.assign(1)
    daemon.assign(0, 1)
    daemon.wait_for_starts(0, 2)


def test_membership_crash_leaves_workers_alone_and_nothing_starts_meanwhile(daemon: Daemon) -> None:
    daemon.start(workers={"restart_backoff": 0.5})
    daemon.assign(0, 1)
    workers = [daemon.wait_for_starts(partition, 1)[0]["pid"] for partition in (0, 1)]
    (membership,) = daemon.events("membership", "start")
    (daemon.control / "messages").rename(daemon.control / "later")
    os.kill(membership["pid"], signal.SIGKILL)
    daemon.wait(lambda: len(daemon.events("membership", "start")) == 2, "a new membership")
    os.kill(workers[1], signal.SIGKILL)
    daemon.wait(lambda: not is_alive(workers[1]) and daemon.log().count("worker ended") == 1, "the worker's end")
    ended = time.monotonic()
    daemon.wait(lambda: time.monotonic() > ended + 1.5, "three pauses of a restart")
    assert is_alive(workers[0])
    assert len(daemon.starts(1)) == 1
    (daemon.control / "later").rename(daemon.control / "messages")
    daemon.wait_for_starts(1, 2)
    assert len(daemon.starts(0)) == 1


def test_daemon_that_was_stopped_asks_the_group_before_it_starts_anything(daemon: Daemon) -> None:
    (daemon.control / "no-confirm").touch()
    daemon.start(workers={"restart_backoff": 0.05})
    daemon.assign(0)
    daemon.wait_for_starts(0, 1)
    daemon.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    daemon.wait(lambda: time.monotonic() > stopped + 5.5, "a pause longer than the supervisor believes in")
    daemon.assign(0, 1)
    daemon.signal(signal.SIGCONT)
    daemon.wait(lambda: confirm_questions(daemon) >= 2, "questions to the group")
    assert len(daemon.starts(1)) == 0
    (daemon.control / "no-confirm").unlink()
    daemon.wait_for_starts(1, 1)
    assert len(daemon.starts(0)) == 1


def test_caught_up_when_every_cursor_has_reached_the_end_of_the_start(daemon: Daemon) -> None:
    daemon.start(until_caught_up=True)
    daemon.say(event="log_ends", partitions=[["t", 0, 10], ["t", 1, 0], ["t", 2, 5]])
    daemon.assign(0, 1)
    daemon.wait_for_starts(1, 1)
    daemon.mode(1, "reach 0")
    daemon.say(event="committed", partitions=[["t", 2, 5]])
    daemon.mode(0, "reach 9")
    daemon.wait(lambda: daemon.said == len(list((daemon.control / "messages").glob("*.json"))), "messages")
    assert daemon.process is not None and daemon.process.poll() is None
    daemon.mode(0, "reach 10")
    assert daemon.exit_code() == 0


def test_caught_up_but_for_a_halted_partition_ends_with_code_4(daemon: Daemon) -> None:
    daemon.mode(0, "exit 4")
    daemon.mode(1, "reach 3")
    daemon.start(until_caught_up=True)
    daemon.say(event="log_ends", partitions=[["t", 0, 10], ["t", 1, 3]])
    daemon.assign(0, 1)
    assert daemon.exit_code() == 4
