"""What people do while records flow: hosts that come and go, reloads, new partitions, records sent twice."""

import signal
import time

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]

from tests.fault.conftest import RECORDS, MakeFeed, MakeFlow
from tests.fault.flow import since

pytestmark = pytest.mark.fault


def test_second_daemon_coming_and_going_moves_partitions(flow: MakeFlow, mixed_log: str) -> None:
    here = flow(mixed_log, mode="append")
    here.throttle(0.4)
    first = here.start("first")
    here.wait_for_each({p: (0, 0) for p in range(4)})
    for _ in range(3):
        began = time.monotonic()
        here.inject(lambda: here.start("second"))
        second = here.daemons[-1]
        second.wait(lambda: len(second.events("claimed")) >= 2, "two claims of the second daemon")  # noqa: B023
        moved = {one["partition"] for one in second.events("claimed")}
        here.wait_for_each({p: at for p, at in here.cursors().items() if p in moved})
        joined = since(began)
        claims = len(first.events("claimed"))
        began = time.monotonic()
        here.inject(lambda: second.signal(signal.SIGTERM))  # noqa: B023
        first.wait(lambda: len(first.events("claimed")) >= claims + len(moved), "the partitions to come back")  # noqa: B023
        back = since(began)
        here.wait_for_each({p: at for p, at in here.cursors().items() if p in moved})
        here.note(
            f"second daemon committed after {joined} s; stopped, its partitions were claimed again after {back} s"
        )
        assert second.exit_code() == 0
    here.daemons.append(here.daemons.pop(0))
    assert here.finish().problems == []
    assert not any(daemon.events("lease lost") for daemon in here.daemons), "a revoke must drain, not fence"


def test_reload_under_load(flow: MakeFlow, mixed_log: str) -> None:
    here = flow(mixed_log, mode="append")
    here.throttle(0.3)
    daemon = here.start()
    for count in range(1, 5):
        here.wait_for_progress(4000)
        began = time.monotonic()
        before = here.cursors()
        here.inject(lambda: daemon.signal(signal.SIGHUP))
        daemon.wait(lambda: len(daemon.events("claimed")) == 4 * (count + 1), "the claims of the next life")  # noqa: B023
        here.wait_for_each(before)
        here.note(f"every partition committed {since(began)} s after the reload")
    assert here.finish().problems == []
    assert not daemon.events("lease lost")


def test_records_sent_twice_become_one_row(flow: MakeFlow, feed: MakeFeed) -> None:
    """A third of all records has the key of an earlier one: of the same batch, of a later one, of another partition."""
    source = feed(duplicate_every=3)
    source.start(per_sec=20_000)
    here = flow(source.topic, mode="insert")
    here.start()
    here.wait_for_progress(20_000)
    here.inject(lambda: None)
    source.finish(at_least=RECORDS)
    verdict = here.finish()
    assert verdict.problems == []
    assert verdict.duplicates > RECORDS // 4
    here.tally.faults = verdict.duplicates


def test_partitions_added_while_running(flow: MakeFlow, feed: MakeFeed) -> None:
    source = feed()
    source.start(per_sec=12_000)
    here = flow(source.topic, mode="append")
    daemon = here.start()
    here.wait_for_progress(10_000)
    admin = AdminClient({"bootstrap.servers": here.bootstrap})

    def add() -> None:
        admin.create_partitions([NewPartitions(source.topic, 6)])[source.topic].result(20)

    here.inject(add)
    began = time.monotonic()
    source.spread(6)
    daemon.wait(lambda: {4, 5} <= here.cursors().keys(), "a claim of the new partitions", 30)
    here.wait_for_each({4: (0, 0), 5: (0, 0)})
    here.note(f"both new partitions had rows {since(began)} s after they were made")
    source.finish(at_least=RECORDS)
    assert here.finish().problems == []
