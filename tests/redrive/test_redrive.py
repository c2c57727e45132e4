"""A redriven record is written once, leaves the dead letters in that same transaction, or stays with its new reason."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ingestd.batch import Outcome
from ingestd.config import options as cfg
from ingestd.errors import Retryable
from ingestd.redrive.redrive import pieces
from ingestd.sinks.ladder import Way
from ingestd.stores.dead_letters import Wanted
from ingestd.stores.store import Transaction
from tests.redrive.conftest import APPEND_DDL, Desk, MakeDesk
from tests.sinks.contracts import ask, pipeline_of


def refused_by_check(desk: Desk, count: int = 5) -> None:
    """Letters of `count` records that the CHECK refuses, between two good ones."""
    bad = [{"id": f"k{n}", "v": -n, "w": "w"} for n in range(1, count + 1)]
    desk.bench.commit([{"id": "first", "v": 1}, *bad, {"id": "last", "v": 1}])


def test_mended_records_are_rows_and_leave_no_letter(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    result = one.redrive(fix=["v = abs(v)"])
    assert (result.written.inserted, result.refused, one.letters()) == (5, [], [])
    assert one.bench.column() == ["first", "k1", "k2", "k3", "k4", "k5", "last"]


@pytest.mark.parametrize("version", ["offset", "ts"])
def test_of_equal_letters_of_one_key_the_older_does_not_stay(desk: MakeDesk, version: str) -> None:
    pipeline = pipeline_of({"id": "text", "v": "int4", "w": "text", "ts": "int4"})
    table = msgspec.structs.replace(pipeline.table, mode="upsert", version=version)
    ddl = "CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0), w text, ts int)"
    one = desk(ddl=ddl, pipeline=msgspec.structs.replace(pipeline, table=table))
    one.bench.commit([{"id": "k", "v": -1, "w": w, "ts": 1} for w in ("older", "later")])
    assert len(one.letters()) == 2
    one.redrive(fix=["v = 1"])
    assert one.bench.column("w") == ["later"]


def test_ledger_adds_up_after_redrive_and_drop(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    one.redrive(one.box().find(Wanted(limit=2)), fix=["v = 1"])
    assert one.drop(Wanted(limit=1)) == 1
    counters = one.counters()
    fates = sum(counters[f] for f in ("inserted", "updated", "stale", "folded", "duplicates", "deleted", "dead"))
    assert counters["records"] + counters["redriven"] == fates
    assert counters["dead"] - counters["redriven"] - counters["dropped"] == len(one.letters()) == 2


def test_record_refused_again_stays_with_the_new_reason_and_its_own_payload(desk: MakeDesk) -> None:
    one = desk()
    one.bench.commit([{"id": "a", "v": "x"}, {"id": "b", "v": -1}])
    result = one.redrive(fix=["v = -7"])
    assert result.redriven == 0
    assert [letter.id for letter in result.refused] == one.box().find(Wanted())
    (reason,) = {reason for _, reason in one.letters()}
    assert "check" in reason.lower()
    payloads = one.ask('SELECT payload FROM {letters} ORDER BY "offset"')
    assert [bytes(row[0]) for row in payloads] == [b'{"id":"a","v":"x"}', b'{"id":"b","v":-1}']


def test_neighbours_of_a_record_that_is_refused_again_are_written(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    result = one.redrive(fix=["v = 3 if v == -3 else v"])
    assert (result.redriven, len(result.refused), one.bench.column()) == (1, 4, ["first", "k3", "last"])


def test_dry_run_changes_nothing_and_tells_all(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    before = (one.letters(), one.counters(), one.bench.column())
    shown: list[Any] = []
    result = one.redrive(fix=["v = 1 if v < -1 else v"], keep=False, seen=lambda rows: shown.extend(rows.records))
    assert (result.written.inserted, len(result.refused), len(shown)) == (4, 1, 5)
    assert (one.letters(), one.counters(), one.bench.column()) == before


def test_dry_run_hears_what_only_commit_checks(desk: MakeDesk) -> None:
    one = desk(
        ddl="CREATE TABLE kinds (w text PRIMARY KEY); CREATE TABLE orders (id text PRIMARY KEY, v int,"
        " w text REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)"
    )
    one.bench.commit([{"id": "a", "v": 1, "w": "none"}])
    result = one.redrive(keep=False)
    assert (result.redriven, len(result.refused)) == (0, 1)


def test_record_that_only_the_commit_refuses_stays_and_its_neighbours_leave(desk: MakeDesk) -> None:
    one = desk(
        ddl="CREATE TABLE kinds (w text PRIMARY KEY); INSERT INTO kinds VALUES ('w'); CREATE TABLE orders (id text"
        " PRIMARY KEY, v int CHECK (v > 0), w text REFERENCES kinds DEFERRABLE INITIALLY DEFERRED)"
    )
    one.bench.commit([{"id": f"k{n}", "v": -1, "w": "w"} for n in range(5)])
    result = one.redrive(fix=["v = 1", "w = 'none' if id == 'k3' else w"])
    assert (result.redriven, len(result.refused), result.gone) == (4, 1, [])
    assert (one.bench.column(), [offset for offset, _ in one.letters()]) == (["k0", "k1", "k2", "k4"], [3])


def test_redriven_duplicate_changes_no_row(desk: MakeDesk) -> None:
    one = desk()
    one.bench.commit([{"id": "a", "v": -1, "w": "old"}, {"id": "a", "v": 2, "w": "new"}])
    result = one.redrive(fix=["v = 1"])
    assert (result.written.duplicates, one.letters()) == (1, [])
    assert one.bench.column("w") == ["new"]


def test_older_redriven_record_does_not_overwrite_a_newer_row(desk: MakeDesk) -> None:
    one = desk(pipeline=upsert("v"))
    one.bench.commit([{"id": "a", "v": 1, "w": 5}, {"id": "a", "v": 2, "w": "newer"}, {"id": "b", "v": 1, "w": 5}])
    result = one.redrive(fix=["w = 'mended'"])
    assert (result.written.stale, result.written.inserted, one.letters()) == (1, 1, [])
    assert one.ask("SELECT id, w FROM orders ORDER BY id") == [("a", "newer"), ("b", "mended")]


def test_redriven_record_does_not_overwrite_a_row_of_the_same_version_that_came_later(desk: MakeDesk) -> None:
    one = desk(pipeline=upsert("v"))
    one.bench.commit([{"id": "a", "v": 1, "w": 5}, {"id": "a", "v": 1, "w": "later"}])
    result = one.redrive(fix=["w = 'mended'"])
    assert (result.written.stale, one.ask("SELECT w FROM orders")) == (1, [("later",)])


def test_newer_redriven_record_overwrites_an_older_row(desk: MakeDesk) -> None:
    one = desk(pipeline=upsert("v"))
    one.bench.commit([{"id": "a", "v": 2, "w": 5}, {"id": "a", "v": 1, "w": "older"}])
    one.redrive(fix=["w = 'mended'"])
    assert one.ask("SELECT id, v, w FROM orders") == [("a", 2, "mended")]


def test_mended_record_is_not_taken_for_a_duplicate_of_itself_by_the_gate(desk: MakeDesk) -> None:
    columns = [{"name": "id", "type": "text", "required": True}, {"name": "v", "type": "int4"}]
    gate = {"table": "seen", "key": "id", "create": True}
    pipeline = pipeline_of({"id": "text"}, mode="append", column=columns, dedupe=gate)
    one = desk(ddl="CREATE TABLE orders (id text, v int CHECK (v > 0))", pipeline=pipeline)
    one.bench.commit([{"id": "a", "v": -1}, {"id": "b", "v": 1}])
    assert one.redrive(fix=["v = 1"]).written.inserted == 1
    one.bench.commit([{"id": "a", "v": 9}], start=2)
    assert one.ask("SELECT id, v FROM orders ORDER BY id") == [("a", 1), ("b", 1)]


def upsert(version: str) -> Any:
    """A pipeline of orders, one row a key, the latest by `version`."""
    columns = [
        {"name": "id", "type": "text", "required": True},
        {"name": "v", "type": "int4", "required": True},
        {"name": "w", "type": "text"},
    ]
    table = cfg.Table(name="orders", mode="upsert", key=("id",), version=version)
    return msgspec.structs.replace(pipeline_of({"id": "text"}, column=columns), table=table)


class Failing:
    """The pipeline's sink, and what happens when its rows are written but not committed."""

    def __init__(self, sink: Any, fail: Callable[[Transaction], None], times: int = 1):
        self._sink, self._fail, self._left = sink, fail, times
        self.attach, self.ways, self.prepare = sink.attach, sink.ways, sink.prepare

    def write(self, batch: Any, tx: Transaction, way: Way) -> Outcome:
        outcome: Outcome = self._sink.write(batch, tx, way)
        if self._left:
            self._left -= 1
            self._fail(tx)
        return outcome


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingBox:
    """A box that ends the process around the deletion of its letters."""

    def __init__(self, box: Any, before: bool):
        self._box, self._before = box, before
        self.find, self.groups, self.read, self.lock = box.find, box.groups, box.read, box.lock

    def remove(self, *words: Any) -> None:
        if not self._before:
            self._box.remove(*words)
        die()


def cut(tx: Transaction) -> None:
    """End the session in the middle of its transaction."""
    ask(tx.cursor.connection.info.dsn, "SELECT pg_terminate_backend(%s, 5000)", tx.cursor.connection.info.backend_pid)


@pytest.mark.parametrize("point", ["rows are written", "before the deletion", "before the commit"])
def test_redrive_killed_at_any_point_is_redone_as_if_nothing_had_been(desk: MakeDesk, point: str) -> None:
    one = desk(mode="append", ddl=APPEND_DDL)
    refused_by_check(one)
    pid = os.fork()
    if pid == 0:
        try:
            if point == "rows are written":
                one.redrive(fix=["v = 1"], sink=Failing(one.sink(), die))
            one.redrive(fix=["v = 1"], through=lambda box: DyingBox(box, before=point == "before the deletion"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (len(one.letters()), one.bench.column()) == (5, ["first", "last"])
    assert one.redrive(fix=["v = 1"]).redriven == 5
    assert one.bench.column() == ["first", "k1", "k2", "k3", "k4", "k5", "last"]


@pytest.mark.parametrize("desk", ["postgres"], indirect=True)
def test_session_lost_again_and_again_leaves_every_letter(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    with pytest.raises(Retryable):
        one.redrive(fix=["v = 1"], sink=Failing(one.sink(), cut, times=99))
    assert (len(one.letters()), one.bench.column()) == (5, ["first", "last"])


@pytest.mark.parametrize("desk", ["postgres"], indirect=True)
def test_session_lost_once_writes_every_letter_once(desk: MakeDesk) -> None:
    one = desk(mode="append", ddl=APPEND_DDL)
    refused_by_check(one)
    result = one.redrive(fix=["v = 1"], sink=Failing(one.sink(), cut))
    assert (result.redriven, result.gone, one.letters()) == (5, [], [])
    assert one.bench.column() == ["first", "k1", "k2", "k3", "k4", "k5", "last"]


def test_two_redrives_at_once_write_no_record_twice(desk: MakeDesk) -> None:
    one = desk(mode="append", ddl=APPEND_DDL)
    refused_by_check(one, 50)
    ids = one.box().find(Wanted())
    inside, go_on = threading.Event(), threading.Event()
    first: list[Any] = []

    def pause(_tx: Transaction) -> None:
        inside.set()
        assert go_on.wait(0.5 if one.sqlite else 20) or one.sqlite

    def redrive() -> None:
        first.append(one.redrive(ids, fix=["v = 1"], sink=Failing(one.sink(), pause)))

    thread = threading.Thread(target=redrive)
    thread.start()
    assert inside.wait(20)
    second = one.redrive(ids, fix=["v = 1"])
    go_on.set()
    thread.join(20)
    assert (second.redriven, len(second.gone), first[0].redriven) == (0, 50, 50)
    assert len(one.bench.column()) == len(set(one.bench.column())) == 52


def test_redrive_moves_no_cursor_and_fences_no_worker(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one)
    before = one.bench.cursor()
    one.redrive(fix=["v = 1"])
    assert one.bench.cursor() == before
    one.bench.commit([{"id": "next", "v": 1}], start=before)
    assert one.bench.cursor() == before + 1


def test_letters_of_a_topic_that_was_made_again_are_not_mistaken_for_each_other(desk: MakeDesk) -> None:
    one = desk()
    refused_by_check(one, 1)
    payload = 'CAST(\'{"id":"older","v":-1}\' AS BLOB)' if one.sqlite else '\'{"id":"older","v":-1}\''
    one.ask(
        'INSERT INTO {letters} (pipeline, sink_group, topic, topic_id, partition, "offset", payload, stage, reason)'
        f" SELECT pipeline, sink_group, topic, 'older', partition, \"offset\", {payload}, stage, reason"
        " FROM {letters}"
    )
    result = one.redrive(fix=["v = 1"])
    assert (result.redriven, one.bench.column()) == (2, ["first", "k1", "last", "older"])


def test_letters_are_read_in_pieces_and_each_once(desk: MakeDesk) -> None:
    one = desk()
    one.bench.commit([b"%d" % n * 1000 for n in range(10, 20)])
    ids = one.box().find(Wanted())
    one.drop(Wanted(ids=(ids[3], ids[9])))
    assert [letter.id for letter in one.box().read(ids, 4500)] == ids[:2]
    assert [letter.id for letter in one.box().read(ids, 1)] == ids[:1]
    found = list(pieces(one.box(), [*reversed(ids), 10**9]))
    assert [letter.offset for letters, _ in found for letter in letters] == [0, 1, 2, 4, 5, 6, 7, 8]
    assert [number for _, gone in found for number in gone] == [ids[3], ids[9], 10**9]
