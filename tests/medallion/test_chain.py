"""Stage has every event, current the latest row of each key; made again, nothing changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestd.config import options as cfg
from ingestd.medallion.current import Merged, Refused
from ingestd.medallion.tables import current_root
from ingestd.medallion.workroom import Workroom
from ingestd.stores.medallion import CurrentLedger, CurrentTable
from ingestd.stores.open import open_medallion, open_store
from ingestd.stores.store import LedgerKey
from tests.medallion.conftest import Made, contents, current, stage
from tests.medallion.source import TOPIC, UNAVAILABLE, Customers, Runs, bronze

Make = Callable[..., Made]
DECLARED = cfg.MedallionTable(
    columns="declared",
    column=(
        cfg.Column(name="id", type="int8", required=True),
        cfg.Column(name="name", type="text"),
        cfg.Column(name="notes", type="text"),
    ),
    key=("id",),
)


def _merged(made: Made) -> Merged:
    (found,) = made[1]
    assert isinstance(found, Merged), found
    return found


def _busy(source: Customers) -> None:
    source.create(1, op="r", name="Ada", notes="long" * 50)
    source.create(2, op="r", name="Bob", notes=None)
    source.update(1, name="Ada L.")
    source.create(3, name="Cyd", notes="n3")
    source.delete(2)
    source.change_key(3, 30)
    source.update(30, notes=None)


@pytest.mark.parametrize("tables", [(), (DECLARED,)], ids=["from events", "declared"])
def test_every_kind_of_event_ends_in_stage_and_in_current(
    tmp_path: Path, runs: Runs, make: Make, tables: tuple[cfg.MedallionTable, ...]
) -> None:
    source = Customers(with_schema=not tables)
    _busy(source)
    run_id = runs.past(source.take())
    units, _ = made = make(*tables)
    assert [(unit.table, unit.events, unit.rows, unit.dead, unit.ignored) for unit in units] == [
        ("customers", 10, 8, 0, 2)
    ]
    assert (_merged(made).rows, _merged(made).missing) == (2, 0)
    assert current(tmp_path) == source.rows
    query = "SELECT id, _op, _deleted, _lsn, _topic, _partition, _offset, _run_id, _absent FROM stage ORDER BY _offset"
    rows = stage(tmp_path, query)
    assert [row[:3] for row in rows] == [
        (1, "r", False),
        (2, "r", False),
        (1, "u", False),
        (3, "c", False),
        (2, "d", True),
        (3, "d", True),
        (30, "c", False),
        (30, "u", False),
    ]
    assert rows[2][3:] == (1002, TOPIC, 0, 2, run_id, ["notes"])
    assert {row[8] and tuple(row[8]) for row in rows} == {None, ("notes",)}


def test_made_again_nothing_changes_not_a_byte(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    _busy(source)
    runs.past(source.take())
    source.update(1, name="again")
    runs.past(source.take())
    make()
    before = contents(tmp_path / "stage", tmp_path / "current")
    assert len(before) > 3
    assert make() == ([], [])
    assert contents(tmp_path / "stage", tmp_path / "current") == before


def test_only_new_stage_partitions_and_touched_files_are_read(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    for number in range(2000):
        source.create(number, name=f"{number:0300x}")
    runs.past(source.take())
    options = {"bucket_bytes": cfg.Bytes(4096)}
    first = _merged(make(**options))
    assert first.buckets >= 8
    files = {path.name: path.stat() for path in (tmp_path / "current/customers").glob("*.parquet")}
    source.update(7, name="seven")
    source.delete(7)
    run_id = runs.past(source.take())
    second = _merged(make(**options))
    new = list((tmp_path / f"stage/customers/run_id={run_id}").rglob("*.parquet"))
    assert (second.touched, second.buckets) == (1, first.buckets)
    assert second.stage_bytes == sum(path.stat().st_size for path in new)
    (touched,) = (name for name in files if not (tmp_path / "current/customers" / name).exists())
    assert second.current_bytes == files[touched].st_size
    kept = [path for path in (tmp_path / "current/customers").glob("*.parquet") if path.name in files]
    assert {path.stat().st_ino for path in kept} == {files[path.name].st_ino for path in kept}
    assert len(kept) == first.buckets - 1
    assert current(tmp_path) == source.rows


def test_more_buckets_as_the_table_grows(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    sizes = []
    for step in range(3):
        for number in range(10 ** (step + 1)):
            source.create(10 ** (step + 1) + number, name=f"{number:0200x}")
        source.update(10, name=f"step {step}")
        runs.past(source.take())
        sizes.append(_merged(make(bucket_bytes=cfg.Bytes(4096))).buckets)
        assert current(tmp_path) == source.rows
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_what_no_row_can_be_made_of_is_a_dead_letter_and_all_is_counted(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.create(1, name="Ada")
    source.raw('{"id":2}', "no json")
    source.raw(None, json.dumps({"ts_ms": 5}))
    source.raw('{"id":3}', json.dumps({"before": None, "after": {"id": 3}, "op": "c"}))
    source.create(4, name="Dan", notes=UNAVAILABLE)
    run_id = runs.past(source.take())
    (unit,), _ = make()
    assert (unit.events, unit.rows, unit.dead, unit.ignored) == (5, 1, 3, 1)
    query = (
        f"SELECT \"offset\", value, reason FROM '{tmp_path}/stage/_dead_letters/customers/run_id={run_id}/*.parquet'"
    )
    dead = duckdb.sql(f"{query} ORDER BY 1").fetchall()
    assert [row[0] for row in dead] == [1, 3, 4]
    assert dead[0][1] == b"no json"
    assert "brings no schema" in dead[1][2]
    assert "REPLICA IDENTITY FULL" in dead[2][2]


def test_a_truncate_empties_the_table_up_to_its_place(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    _busy(source)
    runs.past(source.take())
    make()
    source.create(5, name="gone")
    source.truncate()
    source.create(6, name="stays")
    runs.past(source.take())
    assert _merged(make()).rows == 1
    assert current(tmp_path) == source.rows == {6: {"id": 6, "name": "stays", "notes": None}}
    source.truncate()
    runs.past(source.take())
    assert _merged(make()).rows == 0
    assert current(tmp_path) == {}
    source.create(1, name="back")
    runs.past(source.take())
    assert _merged(make()).rows == 1
    assert current(tmp_path) == source.rows


def test_a_truncate_without_an_order_is_refused_and_other_tables_go_on(tmp_path: Path, runs: Runs, make: Make) -> None:
    one, two, other = Customers(0), Customers(1), Customers(topic="shop.public.orders")
    one.create(1)
    two.create(2)
    two.truncate()
    other.create(3)
    runs.past(one.take() + two.take() + other.take())
    refused, merged = make()[1]
    assert isinstance(refused, Refused)
    assert "partitions 0, 1" in refused.reason
    assert isinstance(merged, Merged)
    assert current(tmp_path, "orders") == other.rows
    assert not (tmp_path / "current/customers").exists()


def test_a_run_that_is_not_over_or_not_staged_holds_later_ones_back(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.create(1, name="first")
    early = runs.begin(host="other")
    first = source.take()
    source.update(1, name="second")
    late = runs.begin()
    runs.fill(late, source.take())
    runs.end(late)
    units, merged = make()
    assert [unit.run_id for unit in units] == [late]
    assert merged == []
    runs.fill(early, first)
    runs.end(early)
    assert _merged(make()).runs == 2
    assert current(tmp_path) == source.rows


def test_runs_that_overlap_are_ordered_by_offsets(tmp_path: Path, runs: Runs, make: Make) -> None:
    """Two hosts share a partition in turns: the run that began first has the last event too."""
    source = Customers()
    first, second = runs.begin("a"), runs.begin("b")
    source.create(1, name="a1", notes="a1")
    mine = source.take()
    source.update(1, name="b2", notes="b2")
    theirs = source.take()
    source.update(1, name="a3")
    mine += source.take()
    runs.fill(first, mine)
    runs.fill(second, theirs)
    runs.end(second)
    assert make()[1] == []
    runs.end(first)
    make()
    assert current(tmp_path) == source.rows == {1: {"id": 1, "name": "a3", "notes": "b2"}}


def test_columns_come_and_change_their_type_in_mid_stream(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.create(1, name="Ada", notes="kept")
    source.add_column("age", "int32")
    source.create(2, name="Bob", age=7)
    runs.past(source.take())
    make()
    names = "id, name, notes, age"
    assert current(tmp_path, names=names) == source.rows
    source.columns["age"] = "int64"
    source.update(1, age=1 << 40)
    runs.past(source.take())
    source.add_column("city")
    source.create(3, city="Rome")
    runs.past(source.take())
    assert _merged(make()).current_bytes > 0
    assert current(tmp_path, names=names + ", city") == source.rows
    files = list((tmp_path / "current/customers").glob("*.parquet"))
    assert {tuple(duckdb.sql(f"FROM '{file}'").types) for file in files}.__len__() == 1


def test_stage_is_partitioned_as_the_table_says(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.create(1, name="a/b")
    source.create(2, name=None)
    run_id = runs.past(source.take())
    make(cfg.MedallionTable(partition_by=("date(_ts)", "name")))
    found = sorted(str(path.parent.relative_to(tmp_path)) for path in (tmp_path / "stage").rglob("*.parquet"))
    base = f"stage/customers/run_id={run_id}/date=2023-11-14/name="
    assert found == [base + "__HIVE_DEFAULT_PARTITION__", base + "a%2Fb"]
    assert current(tmp_path) == source.rows


def test_two_topics_never_mix_in_one_table(tmp_path: Path, runs: Runs, make: Make) -> None:
    one, two = Customers(), Customers(topic="shop.other.customers")
    one.create(1)
    two.create(1)
    runs.past(one.take() + two.take())
    with pytest.raises(Exception, match="would be made of"):
        make()
    units, _ = make(cfg.MedallionTable(name="{schema}_{table}"))
    assert [unit.table for unit in units] == ["other_customers", "public_customers"]


def test_only_one_process_makes_tables(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.create(1)
    runs.past(source.take())
    with Workroom(current_root(bronze(tmp_path))), pytest.raises(Exception, match="another process"):
        make()
    assert _merged(make()).rows == 1


def test_values_that_never_came_are_null_and_counted(tmp_path: Path, runs: Runs, make: Make) -> None:
    source = Customers()
    source.rows[1] = {"id": 1, "name": "before the first event", "notes": "never seen"}
    source.update(1, name="Ada")
    runs.past(source.take())
    assert _merged(make()).missing == 1
    rows: dict[Any, dict[str, Any]] = current(tmp_path)
    assert rows == {1: {"id": 1, "name": "Ada", "notes": None}}


@pytest.mark.parametrize("merges", [1, 2])
def test_a_value_from_before_a_delete_never_comes_back(tmp_path: Path, runs: Runs, make: Make, merges: int) -> None:
    """The create after the delete was a dead letter; the update after it brings no notes."""
    source = Customers()
    source.create(5, name="old", notes="of the deleted row")
    if merges == 2:
        runs.past(source.take())
        make()
    source.delete(5)
    source.create(5, name="moved here", notes=UNAVAILABLE)
    source.update(5, name="Eve")
    runs.past(source.take())
    units, (merged,) = make()
    assert units[0].dead == 1
    assert isinstance(merged, Merged) and merged.missing == 1
    assert current(tmp_path) == {5: {"id": 5, "name": "Eve", "notes": None}}


def test_of_two_merges_of_one_version_the_ledger_takes_one(metadata: cfg.Store) -> None:
    store = open_store(metadata, LedgerKey("bronze", TOPIC))
    store.prepare()
    statements = open_medallion(metadata)
    statements.prepare(store.open())
    ledger = CurrentLedger(statements, "bronze")
    first = CurrentTable(table="t", version=1, rows=5)
    for taken in (True, False):
        with store.side_transaction() as tx:
            assert ledger.publish(tx.cursor, first, ["r"] if taken else []) is taken
    second = CurrentTable(table="t", version=2)
    with store.side_transaction() as tx:
        assert not ledger.publish(tx.cursor, second, []), "version 1 is not in place yet"
    ledger.settle(store.open(), first)
    with store.side_transaction() as tx:
        assert ledger.publish(tx.cursor, second, ["s"])
    assert ledger.merged(store.open(), "t") == {"r", "s"}
    store.close()
