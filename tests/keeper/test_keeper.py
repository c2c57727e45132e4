"""One host keeps a pipeline; when its session is gone another one does; old keys are forgotten."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ingestd.config import options as cfg
from tests.keeper.conftest import Kept, turn_until
from tests.sinks.contracts import ask

MakeKept = Callable[..., Kept]


@pytest.fixture
def one(kept: MakeKept, tmp_path: Path) -> Kept:
    """A pipeline whose letters go to Parquet."""
    return kept(parquet=str(tmp_path))


def test_second_host_does_nothing_while_the_first_keeps(one: Kept) -> None:
    first, second = one.post(), one.post()
    first.turn()
    one.refuse([b"1"])
    second.turn()
    assert one.marked("exported") == 0


def test_second_host_goes_on_when_the_first_has_left(one: Kept) -> None:
    first, second = one.post(), one.post()
    first.turn()
    second.turn()
    first.close()
    one.refuse([b"1"])
    second._due = dict.fromkeys(second._due, 0.0)  # it would ask again in 5 s
    turn_until(second, lambda: one.marked("exported") == 1)


def test_keeper_whose_session_was_ended_does_not_work_on_without_the_lock(one: Kept) -> None:
    first, second = one.post(), one.post()
    first.turn()
    ask(
        one.url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    second.turn()
    one.refuse([b"1"])
    first._due = dict.fromkeys(first._due, 0.0)
    first.turn()
    first._due = dict.fromkeys(first._due, 0.0)
    first.turn()
    assert one.marked("exported") == 0


def test_waiting_letters_are_found_by_an_index(one: Kept) -> None:
    one.post().turn()
    names = {row[0] for row in ask(one.url, "SELECT indexname FROM pg_indexes WHERE schemaname = 'ingestd'")}
    assert {"dead_letters_not_forwarded", "dead_letters_not_exported"} <= names


def test_keys_of_the_gate_are_forgotten_in_time(kept: MakeKept) -> None:
    one = kept()
    table = cfg.Table(
        name="orders",
        mode="upsert",
        key=("id",),
        create=True,
        delete=cfg.Delete(tombstone=True, how="hard", retention=cfg.Secs(3600)),
    )
    gate = cfg.Dedupe(table="seen", key="id", create=True, retention=cfg.Secs(3600))
    pipeline = msgspec.structs.replace(one.bench.pipeline, table=table, dedupe=gate)
    config = msgspec.structs.replace(one.config, pipeline=(pipeline,))
    ask(
        one.url,
        'CREATE TABLE seen (id text PRIMARY KEY, topic text, partition int, "offset" bigint, seen_at timestamptz);'
        "INSERT INTO seen VALUES ('old', 't', 0, 0, now() - interval '2 hours'), ('new', 't', 0, 1, now())",
    )
    one.post(config).turn()
    assert ask(one.url, "SELECT id FROM seen") == [("new",)]
