"""kill -9 at every step of a compaction: readers see the old rows or the new ones, and the next run ends it."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import duckdb
import pytest

import ingestd
from ingestd.lake.merging.compaction import batches
from ingestd.lake.reading.readable import readable
from tests.lake.small import SmallLake, ids, lake_pipeline, ledger_of

_HOME = os.path.dirname(ingestd.__file__)
_WATCHED = {
    f"{_HOME}/{name}.py"
    for name in ("lake/compaction", "lake/turnover", "lake/exchange", "stores/postgres/store", "stores/sqlite/store")
}
Step = tuple[str, int]
"""File and line of a call, before it is made; what comes after the last one is as if nothing had happened."""


@pytest.fixture(autouse=True)
def no_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads while it happens: there is nobody to wait for."""
    monkeypatch.setattr("ingestd.lake.merging.turnover.GRACE_SECS", 0.0)


def _compact_in_child(lake: SmallLake, at_step: Callable[[Step], None]) -> int:
    """How a child that compacts the lake ended; `at_step` is called in it before and after every call of ours."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        ledger = ledger_of(lake.options, lake.pipeline)
        compactor = lake.compactor(ledger=ledger)

        def watch(frame: FrameType, event: str, _arg: Any) -> None:
            caller = frame if event == "c_call" else frame.f_back
            if event in ("call", "c_call") and caller is not None and caller.f_code.co_filename in _WATCHED:
                at_step((os.path.relpath(caller.f_code.co_filename, _HOME), caller.f_lineno))

        while ledger.lock.take() is not None:
            time.sleep(0.01)
        sys.setprofile(watch)
        compactor.recover()
        for batch in batches(compactor.plan()):
            compactor.run(batch)
        sys.setprofile(None)
        code = 0
    finally:
        os._exit(code)


def _steps(lake: SmallLake, path: Path) -> list[Step]:
    """Every kind of step of a compaction that nobody disturbs, in order."""
    with open(path, "w", buffering=1) as file:
        assert _compact_in_child(lake, lambda step: print(*step, file=file)) == 0
    words = [line.split() for line in path.read_text().splitlines()]
    return list(dict.fromkeys((name, int(line)) for name, line in words))


def _killer(step: Step) -> Callable[[Step], None]:
    def at_step(reached: Step) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_step


def _glob_is_right_or_fails(lake: SmallLake, wanted: list[int]) -> bool:
    """Whether the glob could be read at all."""
    try:
        found = lake.ids()
    except duckdb.Error:
        return False
    assert found == wanted
    return True


@pytest.mark.parametrize(
    ("partition_by", "readers", "stride"),
    [(["kind"], "any", 1), ([], "any", 5), (["kind"], "manifest", 5)],
    ids=["exchanged", "in_place", "manifest"],
)
def test_killed_compaction_neither_loses_nor_doubles_a_row(
    url: str, tmp_path: Path, partition_by: list[str], readers: str, stride: int
) -> None:
    """`stride`: of the ways that share most of their steps not every one is taken."""
    options: dict[str, Any] = {"partition_by": partition_by, "compact": {"min_files": 2, "readers": readers}}
    lake = SmallLake(url, lake_pipeline(tmp_path / "lake", **options))
    lake.fill(3, rows=1)
    steps = _steps(lake, tmp_path / "steps")[::stride]
    killed = failed_reads = 0
    for step in steps:
        lake.fill(2, rows=1)
        wanted = list(range(1, lake.rows + 1))
        killed += _compact_in_child(lake, _killer(step)) == -signal.SIGKILL
        now = readable(lake.place, lake.files())
        assert ids([str(lake.root / key) for key in now.keys]) == wanted, step
        if readers == "any":
            failed_reads += not _glob_is_right_or_fails(lake, wanted)
        while lake.ledger.lock.take() is not None:  # the server has not yet noticed that the child is gone
            time.sleep(0.01)
        lake.compactor().recover()
        lake.ledger.lock.release()
        assert lake.manifest_ids() == wanted, step
        if readers == "any":
            assert lake.ids() == wanted, step
            assert len(lake.on_disk()) == len(lake.files()), step
        assert not lake.on_disk("_staging"), step
    lake.close()
    assert killed > len(steps) * 0.9
    assert failed_reads < len(steps) / 2
