"""A worker with a lake, from a real broker, on both stores: every good record is in the lake exactly once."""

import signal
import subprocess

import orjson
import pytest

from ingestd import cli
from ingestd.board import LaneState
from ingestd.errors import ExitCode
from tests.fault.daemon import COMMAND
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


def test_one_worker_keeps_the_partitions_apart(flow: MakeFlow, produce: Produce) -> None:
    one = flow(3, table=TABLE, max_rows=200)
    for partition in range(3):
        produce(one.topic, [*records(partition * 1_000, 500 + partition), b"no json"], partition)
    killed = one.start((0, 1, 2), patch="tests.lake.crashes:kill_at:added")
    assert killed.exit_code(60) == -signal.SIGKILL
    worker = one.start((0, 1, 2))
    worker.until(lambda: one.cursors("table") == {0: 501, 1: 502, 2: 503})
    one.stop(worker)
    assert one.cursors() == {0: 501, 1: 502, 2: 503}
    assert one.ids() == [*range(500), *range(1_000, 1_501), *range(2_000, 2_502)]
    assert all(row["id"] == row["part"] * 1_000 + row["at"] for row in one.rows())
    one.check()
    counted = "SELECT partition, records, inserted, dead FROM LEDGER.cursors WHERE sink_group = 'lake' ORDER BY 1"
    assert one.ask(counted) == [(0, 501, 500, 1), (1, 502, 501, 1), (2, 503, 502, 1)]


@pytest.mark.parametrize("gate", [False, True])
def test_lake_that_a_pipeline_gets_later_is_filled_from_its_start_and_the_table_sees_nothing_twice(
    flow: MakeFlow, produce: Produce, gate: bool
) -> None:
    one = flow(table=TABLE, **({"dedupe": GATE} if gate else {}))
    lake = one.pipeline.pop("lake")
    produce(one.topic, [*records(0, 600), *records(100, 50), b"no json", *records(600, 100)])
    before = one.start()
    before.until(lambda: one.cursors("table") == {0: 751})
    one.stop(before)
    one.pipeline["lake"] = lake
    worker = one.start()
    worker.until(lambda: one.cursors().get(0, 0) >= 500)
    produce(one.topic, records(700, 10))
    worker.until(lambda: one.cursors("table") == {0: 761})
    one.stop(worker)
    assert one.ids() == sorted([*range(710), *([] if gate else range(100, 150))])
    one.check()
    assert one.ask("SELECT records, duplicates FROM LEDGER.cursors WHERE sink_group = 'table'") == [(761, 50)]


def test_lake_of_a_pipeline_that_starts_at_the_end_begins_where_the_table_stands(
    flow: MakeFlow, produce: Produce
) -> None:
    one = flow(table=TABLE, start="latest")
    lake = one.pipeline.pop("lake")
    produce(one.topic, records(0, 10))
    before = one.start()
    before.until(lambda: one.cursors("table") == {0: 10})
    produce(one.topic, records(10, 10))
    before.until(lambda: one.cursors("table") == {0: 20})
    one.stop(before)
    one.pipeline["lake"] = lake
    produce(one.topic, records(20, 10))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 30})
    one.stop(worker)
    assert one.ids() == list(range(20, 30))


def test_lone_record_is_committed_by_its_age_while_nothing_else_comes(flow: MakeFlow, produce: Produce) -> None:
    one = flow()
    one.pipeline["lake"]["roll"] = {"max_age": 1.0}
    worker = one.start()
    produce(one.topic, records(0, 1))
    worker.until(lambda: one.ids() == [0])
    produce(one.topic, [b"no json"])
    worker.until(lambda: one.cursors() == {0: 2})  # a tile without rows commits too
    assert len(one.files()) == 1
    worker.until(lambda: worker.lanes[0]["lake_open_rows"] == 0 and worker.lanes[0]["lake_rows"] == 1)


def test_table_that_was_rewound_and_a_lake_that_is_behind_both_end_complete(flow: MakeFlow, produce: Produce) -> None:
    one = flow(table=TABLE, dedupe=GATE)
    produce(one.topic, [*records(0, 800), *records(300, 700), b"no json"])
    killed = one.start(patch="tests.lake.crashes:kill_at:committed")
    assert killed.exit_code(60) == -signal.SIGKILL
    behind, ahead = one.cursors()[0], one.cursors("table")[0]
    assert 0 < behind <= ahead
    assert cli.main(["offsets", "reset", "--config", one.file(), "--to", "200", "--yes"]) == ExitCode.OK
    assert one.cursors() == {0: behind}
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 1_501})
    one.stop(worker)
    assert one.ids() == list(range(1_000))
    one.check()
    assert one.ask("SELECT count(*) FROM sink") == [(1_000,)]


def test_history_of_a_key_is_whole_in_the_lake_of_an_upsert(flow: MakeFlow, produce: Produce) -> None:
    gone = {"when": {"kind": "gone"}, "how": "hard"}
    one = flow(table={"name": "sink", "mode": "upsert", "key": ["id"], "create": True, "delete": gone})
    changes = [{"id": n % 7, "kind": "gone" if n % 5 == 0 else "a"} for n in range(400)]
    produce(one.topic, [orjson.dumps(change) for change in changes])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 400})
    one.stop(worker)
    found = sorted(one.rows(), key=lambda row: row["at"])
    assert [{"id": row["id"], "kind": row["kind"]} for row in found] == changes
    one.check()


def test_new_field_becomes_a_column_of_the_files_and_no_row_is_lost(flow: MakeFlow, produce: Produce) -> None:
    one = flow(table=TABLE, on_new_field="evolve")
    produce(one.topic, records(0, 300))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 300})
    produce(one.topic, [orjson.dumps({"id": n, "kind": "a", "colour": "red"}) for n in range(300, 900)])
    worker.until(lambda: one.cursors("table") == {0: 900})
    one.stop(worker)
    assert one.ids() == list(range(900))
    assert sum(row.get("colour") == "red" for row in one.rows()) == 600
    one.check()


def test_partition_that_halts_leaves_the_lake_where_the_table_is(flow: MakeFlow, produce: Produce) -> None:
    one = flow(dead_letters={"max_ratio": 1.0, "max_run": 50}, max_rows=100_000)
    produce(one.topic, [*records(0, 400), *[b"no json"] * 400])
    worker = one.start()
    assert worker.exit_code(60) == ExitCode.HALTED
    committed = one.cursors("table")[0]
    assert one.cursors() == {0: committed}
    assert one.ids() == list(range(committed))


def test_other_root_than_the_ledger_knows_halts_before_anything_is_written(flow: MakeFlow, produce: Produce) -> None:
    one = flow()
    produce(one.topic, records(0, 10))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 10})
    one.stop(worker)
    (one.root / "_ingestd.json").unlink()
    halted = one.start()
    assert halted.exit_code(60) == ExitCode.HALTED
    assert "_ingestd.json is missing" in halted.lanes[0]["text"]


def test_daemon_until_caught_up_ends_with_everything_in_the_lake(flow: MakeFlow, produce: Produce) -> None:
    one = flow(2, max_rows=100_000)
    produce(one.topic, records(0, 1_000), 0)
    produce(one.topic, records(1_000, 1_000), 1)
    command = [*COMMAND, "run", "--config", one.file(), "--until-caught-up"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == ExitCode.OK, ended.stderr
    assert one.ids() == list(range(2_000))
    one.check()
    assert cli.main(["verify", "--config", one.file()]) == ExitCode.OK
    assert cli.main(["check", "--config", one.file()]) == ExitCode.OK
    assert cli.main(["query", "--config", one.file()]) == ExitCode.USAGE
