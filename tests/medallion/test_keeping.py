"""The keeper makes the tables beside its other duties; with PostgreSQL as the store it is all the same."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.keeper.medallion import MakeTables
from ingestd.medallion.chain import Chain
from ingestd.medallion.current import Merged
from ingestd.medallion.tables import stage_root
from ingestd.medallion.workroom import Workroom
from tests.medallion.conftest import current
from tests.medallion.source import Customers, Runs, bronze


def _until_done(duty: MakeTables) -> float:
    """How long it wants to wait afterwards."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (pause := duty.turn()) > 1:
            return pause
        time.sleep(0.05)
    raise AssertionError("never done")


def _every_hour(pipeline: cfg.Pipeline) -> cfg.Pipeline:
    assert pipeline.medallion is not None
    return structs.replace(pipeline, medallion=structs.replace(pipeline.medallion, every=cfg.Secs(3600)))


def test_what_is_new_is_made_and_a_fault_is_tried_again(tmp_path: Path, runs: Runs, metadata: cfg.Store) -> None:
    source = Customers()
    source.create(1, name="Ada")
    runs.past(source.take())
    duty = MakeTables(metadata, _every_hour(bronze(tmp_path)))
    with Workroom(stage_root(bronze(tmp_path))), pytest.raises(Retryable, match="another process"):
        _until_done(duty)
    assert _until_done(duty) == 3600
    assert current(tmp_path) == source.rows
    source.update(1, name="Eve")
    runs.past(source.take())
    assert _until_done(duty) == 3600
    assert current(tmp_path) == source.rows
    duty.close()


def test_a_keeper_that_ends_leaves_the_work_between_two_steps(tmp_path: Path, runs: Runs, metadata: cfg.Store) -> None:
    source = Customers()
    source.create(1)
    runs.past(source.take())
    duty = MakeTables(metadata, _every_hour(bronze(tmp_path)))
    duty.close()
    duty.turn()
    deadline = time.monotonic() + 30
    while duty.turn() == 1.0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list((tmp_path / "stage").rglob("*.parquet"))
    with Chain(metadata, bronze(tmp_path)) as chain:
        assert len(list(chain.stage())) == 1


def test_postgresql_as_the_store(tmp_path: Path, database: str) -> None:
    store = cfg.Store(url=database)
    source, runs = Customers(), Runs(tmp_path, store)
    make: Callable[[Chain], list[object]] = lambda chain: [*chain.stage(), *chain.current()]  # noqa: E731
    with Chain(store, bronze(tmp_path)) as chain:
        for step in range(3):
            source.create(step, name=f"{step}", notes="n")
            if step:
                source.update(0, name=f"seen {step}")
                source.delete(step - 1) if step > 1 else None
            runs.past(source.take())
            _, merged = make(chain)
            assert isinstance(merged, Merged)
            assert current(tmp_path) == source.rows
            assert make(chain) == []
        waiting = runs.begin()
        runs.fill(waiting, [])
        assert chain.order().waits is None, "it has no files in bronze"
        assert chain.end_run(waiting, "crashed")
        assert not chain.end_run(waiting, "crashed")
