"""A worker with a lake, from a real broker, on both stores: every good record is in the lake exactly once."""

from ingestd.board import LaneState
from tests.fix_servers import Produce
from tests.lake.conftest import MakeFlow
from tests.lake.flow import records

TABLE = {"name": "sink", "mode": "insert", "key": ["id"], "create": True}
GATE = {"table": "seen", "key": "id", "create": True}


def test_good_records_reach_the_lake_once_and_bad_ones_do_not(flow: MakeFlow, produce: Produce) -> None:
    one = flow()
    produce(one.topic, [*records(0, 700), b"no json", *records(700, 600)])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 1_301})
    one.stop(worker)
    assert one.cursors() == {0: 1_301}, "a clean stop commits what is open"
    assert one.ids() == list(range(1_300))
    one.check()
    assert one.ask("SELECT passed, dead, inserted FROM LEDGER.cursors WHERE sink_group = 'table'") == [(1_300, 1, 0)]
    assert worker.states[0][-1] == LaneState.RELEASED.name
