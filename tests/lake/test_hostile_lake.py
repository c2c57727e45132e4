"""A root that is taken away while a worker writes to it; a rewind while the lake is behind its table."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ingestd import cli
from ingestd.errors import ExitCode
from tests.fix_servers import Produce
from tests.lake.conftest import MakeFlow
from tests.lake.flow import records


def _unmount(root: Path) -> None:
    root.rename(root.with_name("away"))
    root.mkdir()


def _remove(root: Path) -> None:
    root.rename(root.with_name("away"))


def _exchange(root: Path) -> None:
    _unmount(root)
    (root / "_ingestd.json").write_text(json.dumps({"lake_id": "22222222-2222-7222-8222-222222222222"}))


@pytest.mark.parametrize("take_away", [_unmount, _remove, _exchange])
def test_nothing_is_committed_to_a_root_that_has_gone_while_the_worker_runs(
    flow: MakeFlow, produce: Produce, take_away: Callable[[Path], None]
) -> None:
    one = flow()
    produce(one.topic, records(0, 1_000))
    worker = one.start()
    worker.until(lambda: one.cursors() == {0: 1_000})
    take_away(one.root)
    produce(one.topic, records(1_000, 1_000))
    worker.until(lambda: one.cursors() == {0: 2_000} or worker.states[0][-1:] == ["HALTED"])
    assert one.cursors() == {0: 1_000}, "files were committed where no reader will find them"
    assert str(one.root) in worker.lanes[0]["text"]
    assert one.files() == []
    worker.end()

    shutil.rmtree(one.root, ignore_errors=True)
    one.root.with_name("away").rename(one.root)
    again = one.start()
    again.until(lambda: one.cursors("table") == {0: 2_000})
    one.stop(again)
    assert one.ids() == list(range(2_000))
    one.check()


@pytest.mark.parametrize(
    "pipeline",
    [
        {"table": {"name": "sink", "mode": "insert", "key": ["id"], "create": True}},
        {"dedupe": {"table": "seen", "key": "id", "create": True}},
    ],
    ids=["table", "gate"],
)
def test_rewind_while_the_lake_is_behind_skips_nothing_of_it(
    flow: MakeFlow, produce: Produce, capsys: pytest.CaptureFixture[str], pipeline: dict[str, object]
) -> None:
    one = flow(**pipeline)
    produce(one.topic, records(0, 50))
    killed = one.start()
    killed.until(lambda: one.cursors("table") == {0: 50})
    killed.end()
    assert one.cursors() == {0: 0}
    assert cli.main(["offsets", "reset", "--config", one.file(), "--yes", "--to", "20"]) == ExitCode.OK
    assert "lake, partition 0: stays at 0" in capsys.readouterr().out
    produce(one.topic, records(50, 10))
    again = one.start()
    again.until(lambda: one.cursors("table") == {0: 60})
    one.stop(again)
    assert one.ids() == list(range(60))
    one.check()
