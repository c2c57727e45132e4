"""kill -9 at every step of a roll, a stopped worker that wakes up, a full disk: each record is in the lake once."""

import signal
from pathlib import Path

import pytest

from tests.fix_servers import Produce
from tests.lake.conftest import MakeFlow
from tests.lake.crashes import STEPS
from tests.lake.flow import records
from tests.lake.reader import GlobReader

TABLE = {"name": "sink", "mode": "insert", "key": ["id"], "create": True}
GATE = {"table": "seen", "key": "id", "create": True}
COUNT = 2_300


@pytest.mark.parametrize("step", STEPS)
def test_no_step_of_a_roll_loses_or_doubles_a_record_when_it_is_killed(
    flow: MakeFlow, produce: Produce, step: str
) -> None:
    one = flow(table=TABLE)
    produce(one.topic, records(0, COUNT))
    with GlobReader(one) as reader:
        killed = one.start(patch=f"tests.lake.crashes:kill_at:{step}")
        assert killed.exit_code(60) == -signal.SIGKILL, killed.errors
        assert one.cursors()[0] < COUNT
        worker = one.start()
        worker.until(lambda: one.cursors("table") == {0: COUNT})
        one.stop(worker)
    assert reader.wrong == []
    assert reader.looks
    assert one.ids() == list(range(COUNT))
    one.check()
    assert one.ask("SELECT count(*) FROM sink") == [(COUNT,)]
    assert one.ask("SELECT sum(records) FROM LEDGER.cursors WHERE sink_group = 'table'") == [(COUNT,)]


@pytest.mark.parametrize("step", ["writing", "committed"])
def test_crash_between_table_and_lake_makes_the_lake_take_the_gates_decision(
    flow: MakeFlow, produce: Produce, step: str
) -> None:
    one = flow(table=TABLE, dedupe=GATE)
    produce(one.topic, [*records(0, 800), *records(300, 700)])
    killed = one.start(patch=f"tests.lake.crashes:kill_at:{step}")
    assert killed.exit_code(60) == -signal.SIGKILL, killed.errors
    produce(one.topic, records(0, 1_000))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 2_500})
    one.stop(worker)
    assert one.ids() == list(range(1_000))
    one.check()
    first = {row["id"]: row["at"] for row in one.rows()}
    assert first == {n: n if n < 800 else n + 500 for n in range(1_000)}, "the winner's row, and no other's"
    produce(one.topic, records(0, 1_000))
    again = one.start()
    again.until(lambda: one.cursors("table") == {0: 3_500})
    one.stop(again)
    assert one.ids() == list(range(1_000)), "a replayed topic adds no lake row"
    assert one.cursors() == {0: 3_500}


@pytest.mark.parametrize("step", ["writing", "added"])
def test_rows_that_the_database_refused_are_not_in_the_lake_whether_it_crashed_or_not(
    flow: MakeFlow, produce: Produce, step: str
) -> None:
    one = flow(table={"name": "sink", "mode": "append"})
    one.ask("CREATE TABLE sink (id integer CHECK (id % 100 <> 7), kind text, part integer, at bigint)")
    produce(one.topic, records(0, COUNT))
    killed = one.start(patch=f"tests.lake.crashes:kill_at:{step}")
    assert killed.exit_code(60) == -signal.SIGKILL, killed.errors
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: COUNT})
    one.stop(worker)
    assert one.ids() == [n for n in range(COUNT) if n % 100 != 7]
    assert one.ask("SELECT count(*) FROM LEDGER.dead_letters") == [(COUNT // 100,)]
    one.check()


def test_stopped_worker_that_wakes_up_adds_nothing(flow: MakeFlow, produce: Produce) -> None:
    one = flow(max_rows=100_000)
    produce(one.topic, records(0, 1_000))
    zombie = one.start()
    zombie.until(lambda: one.cursors("table") == {0: 1_000})
    zombie.process.send_signal(signal.SIGSTOP)
    owner = one.start()
    owner.until(lambda: owner.lanes and owner.lanes[0]["lake_open_rows"] == 1_000)
    produce(one.topic, records(1_000, 500))
    owner.until(lambda: one.cursors("table") == {0: 1_500})
    zombie.process.send_signal(signal.SIGCONT)
    zombie.process.send_signal(signal.SIGTERM)
    zombie.exit_code(60)
    one.stop(owner)
    assert one.ids() == list(range(1_500))
    last = one.start()
    last.until(lambda: last.states[0][-1:] == ["RUNNING"])
    one.stop(last)
    one.check()  # the next claim removes what the zombie sealed


def test_full_disk_is_waited_for_and_nothing_is_lost(flow: MakeFlow, produce: Produce, tmp_path: Path) -> None:
    one = flow()
    marker = tmp_path / "full"
    marker.touch()
    produce(one.topic, records(0, COUNT))
    worker = one.start(patch=f"tests.lake.crashes:full_disk:{marker}")
    worker.until(lambda: worker.lanes and worker.lanes[0]["state"] == "RETRYING")
    assert "disk is full" in worker.lanes[0]["text"]
    assert one.files() == []
    marker.unlink()
    worker.until(lambda: one.cursors("table") == {0: COUNT})
    one.stop(worker)
    assert one.ids() == list(range(COUNT))
    one.check()
