"""The keeper's duties at a lake, and the command beside it: one at a time, whoever dies."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from msgspec import structs

from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.keeper.keeper import posts_of
from ingestd.keeper.lake import Clean, Compact
from ingestd.lake.merging.compaction import Compactor
from ingestd.lake.merging.ledger import Busy
from ingestd.lake.merging.merge import no_tick
from ingestd.stores.open import open_store
from ingestd.stores.store import LedgerKey
from ingestd.supervisor.siblings import needs_keeper
from tests.lake.small import SmallLake, lake_pipeline, ledger_of, with_lake
from tests.sinks.contracts import ask as ask_server


@pytest.fixture
def lake(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallLake]:
    """Nobody reads it."""
    monkeypatch.setattr("ingestd.lake.merging.turnover.GRACE_SECS", 0.0)
    one = SmallLake(url, lake_pipeline(tmp_path / "lake"))
    yield one
    one.close()


def _config(lake: SmallLake, **options: object) -> cfg.Config:
    pipeline = with_lake(lake.pipeline, **options)
    kafka = cfg.Kafka(bootstrap_servers="127.0.0.1:1", group_id="g")
    return cfg.Config(kafka=kafka, store=lake.options, pipeline=(pipeline,))


def _every_hour() -> cfg.Compaction:
    return cfg.Compaction(min_files=2, every=cfg.Secs(3600))


def test_pipeline_with_a_lake_needs_a_keeper(lake: SmallLake) -> None:
    config = _config(lake)
    assert needs_keeper(config)
    without = structs.replace(config.pipeline[0], lake=None)
    assert not needs_keeper(structs.replace(config, pipeline=(without,)))


def test_keeper_merges_when_it_is_told_how_often(lake: SmallLake) -> None:
    lake.fill(3)
    (post,) = posts_of(_config(lake, compact=_every_hour()))
    post.turn()
    post.close()
    assert len(lake.files()) == 2
    assert lake.ids() == list(range(1, 25))


def test_of_two_keepers_one_merges(lake: SmallLake) -> None:
    lake.fill(3)
    config = _config(lake, compact=_every_hour())
    posts = [*posts_of(config), *posts_of(config)]
    for _ in range(2):
        for post in posts:
            post.turn()
    for post in posts:
        post.close()
    assert lake.ids() == list(range(1, 25))
    assert len(lake.on_disk()) == 2


def test_second_compactor_finds_the_first_one_and_says_so(lake: SmallLake) -> None:
    lake.fill(3)
    second = ledger_of(lake.options, lake.pipeline)
    with lake.ledger.held("lake"), pytest.raises(Busy, match=r"being merged or removed by .*(process|session)"):
        second.lock.release()
        with second.held("lake"):
            raise AssertionError("both had it")
    with second.held("lake"):
        pass
    second.store.close()


def test_compactor_that_lost_its_session_cannot_commit(database: str, tmp_path: Path) -> None:
    """In PostgreSQL; the lock beside an SQLite file is the kernel's, and lost with the process only."""
    lake = SmallLake(database, lake_pipeline(tmp_path / "lake"))
    lake.fill(3)
    before = lake.files()
    stopped = ledger_of(lake.options, lake.pipeline)
    assert stopped.lock.take() is None

    def lose(_rows: int) -> None:
        """As if it had been stopped for minutes."""
        ask_server(database, "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
        stopped.store.close()  # and it connects again without noticing

    zombie = Compactor(lake.pipeline, lake.place, stopped, lose)
    groups = zombie.plan()
    with pytest.raises(Retryable, match="session that held its lock is gone"):
        zombie.run(groups)
    assert lake.files() == before
    assert [done.files_after for done in lake.compact()] == [2]
    assert zombie.run(groups).files_before == 0
    stopped.store.close()
    assert lake.ids() == lake.manifest_ids() == list(range(1, 25))
    lake.close()


@pytest.mark.parametrize("readers", ["any", "manifest"])
def test_files_that_are_too_old_go_in_the_manifest_first(lake: SmallLake, readers: str) -> None:
    lake.fill(3)
    options = _config(lake, retention=cfg.Secs(3600), compact=cfg.Compaction(readers=readers)).pipeline[0]  # type: ignore[arg-type]
    duty = Clean(lake.options, options, no_tick)
    duty.turn()
    assert len(lake.files()) == 6
    old = [file.id for file in lake.files()[:4]]
    table = "ingestd_lake_files" if lake.options.url.startswith("sqlite") else "ingestd.lake_files"
    with lake.store.side_transaction() as tx:
        tx.cursor.execute(f"UPDATE {table} SET committed_at = '2020-01-01T00:00:00.000Z' WHERE id <= {max(old)}")
    duty.turn()
    duty.close()
    assert lake.manifest_ids() == list(range(17, 25))
    # Whoever has asked the manifest may go on reading for ten minutes.
    assert len(lake.on_disk()) == (2 if readers == "any" else 6)


def test_staged_leftovers_are_removed_after_a_day_and_open_files_are_not(lake: SmallLake) -> None:
    lake.roll([{"id": 1, "kind": "a", "amount": "1"}], settled=False)
    (committed,) = lake.files()
    staged = lake.root / "_staging" / "p" / "gone-7"
    staged.mkdir(parents=True)
    yesterday = time.time() - 90_000
    for name, at in (("old.parquet.staged", yesterday), ("open.parquet.staged", time.time())):
        (staged / name).write_bytes(b"x")
        os.utime(staged / name, (at, at))
    os.utime(lake.root / committed.staged, (yesterday, yesterday))
    duty = Clean(lake.options, lake.pipeline, no_tick)
    duty.turn()
    duty.close()
    assert lake.on_disk("_staging") == sorted([committed.staged, "_staging/p/gone-7/open.parquet.staged"])


def test_duty_waits_while_the_command_merges(lake: SmallLake) -> None:
    lake.fill(3)
    duty = Compact(lake.options, _config(lake, compact=_every_hour()).pipeline[0], no_tick)
    with lake.ledger.held("lake"):
        assert duty.turn() < 60
        assert len(lake.files()) == 6
    assert duty.turn() == 3600
    duty.close()
    assert len(lake.files()) == 2


@pytest.fixture
def config_file(lake: SmallLake, tmp_path: Path) -> Path:
    path = tmp_path / "ingestd.toml"
    path.write_text(
        f"""
[kafka]
bootstrap_servers = "127.0.0.1:1"
group_id = "g"
[store]
url = "{str.__str__(lake.options.url)}"
[[pipeline]]
name = "p"
topic = "orders"
[[pipeline.column]]
name = "id"
type = "int8"
[[pipeline.column]]
name = "kind"
type = "text"
[[pipeline.column]]
name = "amount"
type = "numeric(10,2)"
[pipeline.lake]
path = "{lake.root}"
partition_by = ["kind"]
sort_by = ["amount"]
compact = {{ min_files = 2 }}
"""
    )
    return path


def _ingestd(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingestd.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_command_tells_merges_and_has_nothing_to_do_then(lake: SmallLake, config_file: Path) -> None:
    lake.fill(3)
    plan = _ingestd("lake", "compact", "--config", str(config_file), "--dry-run")
    assert plan.stdout.splitlines()[0].startswith("kind=a: 3 files")
    assert len(lake.files()) == 6
    one = _ingestd("lake", "compact", "--config", str(config_file), "--directory", "kind=a")
    assert "3 files became 1" in one.stdout
    rest = _ingestd("lake", "compact", "--config", str(config_file))
    assert "3 files became 1" in rest.stdout
    done = _ingestd("lake", "compact", "--config", str(config_file))
    assert (done.returncode, done.stdout) == (0, "lake of pipeline p: nothing to merge\n")
    assert lake.ids() == list(range(1, 25))


def test_command_says_who_merges_and_names_damaged_files(lake: SmallLake, config_file: Path) -> None:
    lake.fill(3)
    with lake.ledger.held("lake"):
        busy = _ingestd("lake", "compact", "--config", str(config_file))
    assert busy.returncode == 3
    assert "lake of pipeline p: its files are being merged or removed by" in busy.stderr
    damaged = lake.root / lake.files()[0].key
    damaged.write_bytes(damaged.read_bytes()[:-1])
    found = _ingestd("lake", "compact", "--config", str(config_file))
    assert found.returncode == 7
    assert damaged.name in found.stdout


def test_verify_command_tells_of_a_lake(lake: SmallLake, config_file: Path) -> None:
    lake.fill(2)
    table_group = open_store(lake.options, LedgerKey("p", "orders"))
    table_group.claim([0], lambda new, _: {p: (0, "id") for p in new})
    table_group.close()
    key = lake.files()[0].key
    (lake.root / key).unlink()
    found = _ingestd("verify", "--config", str(config_file), "--deep", "--format", "json")
    assert found.returncode == 7
    assert any(key in problem for problem in orjson.loads(found.stdout)[-1]["problems"])
