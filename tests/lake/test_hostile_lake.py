"""A lake whose root is taken away, or given another, while a worker writes to it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
