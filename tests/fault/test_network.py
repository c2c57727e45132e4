"""The connection to the database cut where it hurts: in the middle of COPY, and at COMMIT on either side of it."""

from collections.abc import Callable

import pytest

from tests.fault.conftest import MakeFlow, Servers
from tests.fault.flow import Flow
from tests.fix_proxy import MakeProxy, Proxy

pytestmark = pytest.mark.fault

CUTS = 10
COPY_BEGINS = b"PGCOPY\n\xff"


def fire(here: Flow, network: Proxy, trigger: Callable[[bytes], bool], forward: bool) -> None:
    fired = network.cut_when(trigger, forward)
    here.daemons[-1].wait(fired.is_set, "the cut")


def in_copy() -> Callable[[bytes], bool]:
    """True some 100 kB into a COPY."""
    sent = [-1]

    def look(chunk: bytes) -> bool:
        if COPY_BEGINS in chunk:
            sent[0] = 0
        if sent[0] >= 0:
            sent[0] += len(chunk)
        return sent[0] > 100_000

    return look


def at_commit(here: Flow, before: list[int]) -> Callable[[bytes], bool]:
    """True at the COMMIT that follows a COPY; what was committed until then goes to `before`."""
    copied = [False]

    def look(chunk: bytes) -> bool:
        if COPY_BEGINS in chunk and not copied[0]:
            copied[0] = True
            before.append(here.committed())
        # With its end: BEGIN says READ COMMITTED.
        return copied[0] and b"COMMIT\0" in chunk

    return look


def test_cut_in_the_middle_of_copy(flow: MakeFlow, plain_log: str, servers: Servers, proxy: MakeProxy) -> None:
    here = flow(plain_log, mode="append", has_check=False)
    network = proxy("127.0.0.1", servers.postgres.port)
    here.throttle(0.2)
    here.start(through=f"127.0.0.1:{network.port}")
    here.wait_for_progress(1)
    for _ in range(CUTS):
        here.inject(lambda: fire(here, network, in_copy(), forward=False))
        here.wait_for_progress(1)
    assert here.finish().problems == []


@pytest.mark.parametrize("forward", [True, False], ids=["answer_lost", "commit_lost"])
def test_cut_at_commit(flow: MakeFlow, mixed_log: str, servers: Servers, proxy: MakeProxy, forward: bool) -> None:
    """One connection for all partitions, so that it is this batch's COMMIT that is cut."""
    here = flow(mixed_log, mode="append", max_workers=1, max_rows=4000)
    network = proxy("127.0.0.1", servers.postgres.port)
    here.throttle(0.2)
    daemon = here.start(through=f"127.0.0.1:{network.port}")
    here.wait_for_progress(1)
    arrived = 0
    for _ in range(CUTS):
        before: list[int] = []
        claims = len(daemon.events("claimed"))
        here.inject(lambda: fire(here, network, at_commit(here, before), forward))  # noqa: B023
        daemon.wait(lambda: len(daemon.events("claimed")) >= claims + 4, "the next claim")  # noqa: B023
        arrived += sum(one["next_offset"] for one in daemon.events("claimed")[claims : claims + 4]) > before[0]
        here.wait_for_progress(1)
    here.note(f"{arrived} of {CUTS} cut COMMITs had arrived")
    assert arrived == (CUTS if forward else 0)
    assert here.finish().problems == []
