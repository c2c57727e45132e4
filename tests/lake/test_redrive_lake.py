"""Dead letters and resets of a pipeline with a lake: a record is in it once, or is still a dead letter."""

from typing import Any

import orjson
import pytest

from ingestd import cli
from ingestd.errors import ExitCode, Retryable
from tests.fix_servers import Produce
from tests.lake.conftest import MakeFlow
from tests.lake.flow import LakeFlow, records

TABLE = {"name": "sink", "mode": "insert", "key": ["id"], "create": True}
GATE = {"table": "seen", "key": "id", "create": True}


def _without_id(number: int) -> bytes:
    return orjson.dumps({"number": number, "kind": "a"})


def _filled(flow: MakeFlow, produce: Produce, **more: Any) -> LakeFlow:
    """Ids 0 to 9 in the lake, and two dead letters at offsets 10 and 11 that lack the ids 100 and 101."""
    one = flow(**more)
    produce(one.topic, [*records(0, 10), _without_id(100), _without_id(101)])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 12})
    one.stop(worker)
    return one


def _redrive(one: LakeFlow, *words: str) -> int:
    return cli.main(["dead-letters", "redrive", "--config", one.file(), "--fix", "id = number", *words])


def _letters(one: LakeFlow) -> list[Any]:
    return [row[0] for row in one.ask('SELECT "offset" FROM LEDGER.dead_letters ORDER BY 1')]


@pytest.mark.parametrize(
    "more", [{"table": TABLE}, {}, {"table": TABLE, "dedupe": GATE}], ids=["table", "lake", "gate"]
)
def test_redriven_letter_is_in_the_lake_once_and_counted(
    flow: MakeFlow, produce: Produce, more: dict[str, Any]
) -> None:
    one = _filled(flow, produce, **more)
    assert _redrive(one, "--dry-run") == ExitCode.OK
    assert one.ids() == list(range(10)), "a rehearsal writes no file"
    assert _redrive(one, "--offset", "10") == ExitCode.OK
    assert _redrive(one) == ExitCode.OK
    assert one.ids() == [*range(10), 100, 101]
    assert _letters(one) == []
    made = one.ask("SELECT made_by, sum(rows) FROM LEDGER.lake_files GROUP BY 1 ORDER BY 1")
    assert [(by, int(rows)) for by, rows in made] == [("redrive", 2), ("roll", 10)]
    counted = one.ask("SELECT records, inserted, dead, redriven FROM LEDGER.cursors WHERE sink_group = 'lake'")
    assert counted == [(12, 12, 2, 2)]
    produce(one.topic, [*records(10, 5)])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 17})
    one.stop(worker)
    assert one.ids() == [*range(15), 100, 101]


def test_repeat_of_a_seen_key_does_not_come_into_the_lake_by_a_redrive(flow: MakeFlow, produce: Produce) -> None:
    one = flow(table=TABLE, dedupe=GATE)
    produce(one.topic, [*records(0, 10), _without_id(5)])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 11})
    one.stop(worker)
    assert _redrive(one) == ExitCode.OK
    assert one.ids() == list(range(10))
    assert _letters(one) == []


def test_letter_that_the_lake_has_not_passed_can_neither_be_redriven_nor_dropped(
    flow: MakeFlow, produce: Produce, capsys: pytest.CaptureFixture[str]
) -> None:
    one = _filled(flow, produce, table=TABLE, max_rows=100_000)
    produce(one.topic, [*records(10, 10), _without_id(102)])
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 23})
    worker.process.kill()
    worker.exit_code()
    assert one.cursors() == {0: 12}
    assert _redrive(one) == ExitCode.HALTED
    assert "1 dead letters cannot be redriven yet" in capsys.readouterr().out
    assert _letters(one) == [22]
    assert cli.main(["dead-letters", "drop", "--config", one.file(), "--yes"]) == ExitCode.HALTED
    assert _letters(one) == [22]
    again = one.start()
    again.until(lambda: again.lanes and again.lanes[0]["lake_open_rows"] == 10)
    one.stop(again)
    assert _redrive(one) == ExitCode.OK
    assert one.ids() == [*range(20), 100, 101, 102]


def test_redrive_that_ends_before_its_files_are_settled_is_continued_by_the_next_claim(
    flow: MakeFlow, produce: Produce, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = _filled(flow, produce, table=TABLE)

    def fails(*_: Any) -> bool:
        raise Retryable("the disk is away")

    monkeypatch.setattr("ingestd.redrive.lake.settle", fails)
    _redrive(one)
    assert _letters(one) == []
    assert one.ids() == list(range(10))
    worker = one.start()
    worker.until(lambda: worker.states[0][-1:] == ["RUNNING"])
    one.stop(worker)
    assert one.ids() == [*range(10), 100, 101]
    one.check_files()


def test_reset_never_takes_the_lake_back(flow: MakeFlow, produce: Produce, capsys: pytest.CaptureFixture[str]) -> None:
    one = flow(table=TABLE)
    produce(one.topic, records(0, 50))
    worker = one.start()
    worker.until(lambda: one.cursors("table") == {0: 50})
    one.stop(worker)
    reset = ["offsets", "reset", "--config", one.file(), "--yes", "--to"]
    assert cli.main([*reset, "20"]) == ExitCode.OK
    assert "lake, partition 0: stays at 50" in capsys.readouterr().out
    assert (one.cursors("table"), one.cursors()) == ({0: 20}, {0: 50})
    produce(one.topic, records(50, 10))
    again = one.start()
    again.until(lambda: one.cursors("table") == {0: 60})
    one.stop(again)
    assert one.ids() == list(range(60))
    one.check()
    produce(one.topic, records(60, 20))
    assert cli.main([*reset, "70"]) == ExitCode.OK
    assert "skips 10 offsets" in capsys.readouterr().out
    last = one.start()
    last.until(lambda: one.cursors("table") == {0: 80})
    one.stop(last)
    assert one.ids() == [*range(60), *range(70, 80)]
    assert cli.main(["offsets", "show", "--config", one.file()]) == ExitCode.OK
    assert "lake" in capsys.readouterr().out
