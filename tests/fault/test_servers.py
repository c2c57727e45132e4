"""The servers go away and come back, or the network between; the daemon waits and goes on alone."""

import os
import time
from typing import Any

import pytest

from tests.fault.conftest import RECORDS, MakeFeed, MakeFlow, Servers
from tests.fault.flow import status_of

pytestmark = pytest.mark.fault

DOWN_SECS = float(os.environ.get("INGESTD_FAULT_DOWN_SECS", "60"))


def test_database_restarted_immediately_again_and_again(flow: MakeFlow, mixed_log: str, servers: Servers) -> None:
    here = flow(mixed_log, mode="append")
    here.throttle(0.1)
    here.start()
    for _ in range(4):
        here.wait_for_progress(4000)
        here.inject(lambda: servers.postgres.restart("immediate"))
        took = here.wait_for_each(here.cursors())
        here.note(f"every partition committed {took:.2f} s after the server was back")
    assert here.finish().problems == []


def test_database_down_for_a_long_time_is_waited_for(flow: MakeFlow, mixed_log: str, servers: Servers) -> None:
    here = flow(mixed_log, mode="append", status=True)
    here.throttle(0.15)
    daemon = here.start()
    here.wait_for_progress(4000)
    workers = daemon.workers()

    def partitions() -> list[dict[str, Any]]:
        return list(status_of(daemon)["pipelines"][0]["partitions"])

    here.inject(lambda: servers.postgres.stop("immediate"))
    began = time.monotonic()
    daemon.wait(lambda: all(one["state"] == "retrying" for one in partitions()), "state retrying everywhere", 10)
    daemon.wait(lambda: time.monotonic() - began > DOWN_SECS, "the end of the pause", DOWN_SECS + 1)
    seen = partitions()
    assert {one["state"] for one in seen} == {"retrying"}
    assert all("PostgreSQL" in one["error"] for one in seen)
    servers.postgres.start()
    here.throttle(0)
    took = here.wait_for_each(here.cursors())
    here.note(f"down for {DOWN_SECS:g} s; every partition committed {took:.2f} s after the server was back")
    daemon.wait(lambda: {one["state"] for one in partitions()} == {"running"}, "state running", 20)
    verdict = here.finish()
    assert verdict.problems == []
    assert verdict.dead == RECORDS // 100, "the server's absence became dead letters"
    assert daemon.events("child ended") == daemon.events("worker ended") == []
    assert len(workers) == 4


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
def test_broker_restarted_while_a_producer_writes(
    flow: MakeFlow, feed: MakeFeed, servers: Servers, graceful: bool
) -> None:
    source = feed()
    source.start(per_sec=6_000)
    here = flow(source.topic, mode="append")
    daemon = here.start()
    for _ in range(2):
        here.wait_for_progress(5000)
        here.inject(lambda: servers.kafka.restart(graceful))
        took = here.wait_for_each(here.cursors())
        here.note(f"every partition committed {took:.2f} s after the broker was back")
    source.finish(at_least=RECORDS)
    assert here.finish().problems == []
    assert not daemon.events("worker halted")
