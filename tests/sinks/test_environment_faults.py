"""Faults that are not the record's: nothing is dead-lettered, the partition waits or halts with the right place."""

from contextlib import suppress

import psycopg
import pytest

from ingestd.batch import Tile
from ingestd.errors import Halt, Retryable
from ingestd.stores.faults import UnknownFault
from tests.sinks.conftest import MakeBench
from tests.sinks.contracts import Bench, ask, decoded, pipeline_of, records_of

_COLUMNS = {"id": "text", "v": "int4"}


def _raising(sqlstate: str) -> str:
    return f"""
        CREATE TABLE orders (id text PRIMARY KEY, v int);
        CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF NEW.v < 0 THEN RAISE 'strange' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER judge BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION judge()"""


def _values(count: int, bad: int) -> list[dict[str, object]]:
    return [{"id": f"{n:03}", "v": -1 if n == bad else 1} for n in range(count)]


def _claim_again(writer: Bench) -> None:
    """What the worker does after a Retryable."""
    writer.store.close()
    writer.claim([0], dict(writer.writer.epochs))


@pytest.mark.parametrize("sqlstate", ["F0000", "HV000", "P0002", "0A000"])
def test_unknown_fault_is_retried_then_isolated_and_halts_at_its_offset(bench: MakeBench, sqlstate: str) -> None:
    writer = bench(_raising(sqlstate), _COLUMNS)
    for _ in range(2):
        with pytest.raises(UnknownFault):
            writer.commit(_values(50, bad=23))
        _claim_again(writer)
        assert writer.cursor() == 0
    with pytest.raises(Halt) as halt:
        writer.commit(_values(50, bad=23))
    assert "orders-0 offset 23" in str(halt.value)
    assert halt.value.partitions == (0,)
    assert writer.cursor() == 23
    assert writer.column() == [f"{n:03}" for n in range(23)]
    assert writer.dead() == []


def test_isolated_fault_names_its_own_partition_and_offset_among_holes(bench: MakeBench) -> None:
    """A tile of holes before it, in its own and in another partition, is not the place."""
    writer = bench(_raising("F0000"), _COLUMNS, (0, 1))
    records = records_of([{"id": "a", "v": 1}], 0, 0) + records_of([{"id": "b", "v": -1}], 7, 1)
    rows = decoded(writer.pipeline, records, [Tile(0, 0, 4), Tile(1, 0, 9)])
    for _ in range(2):
        with pytest.raises(UnknownFault):
            writer.commit_rows(rows)
        writer.store.close()
        writer.claim([0, 1], dict(writer.writer.epochs))
    with pytest.raises(Halt) as halt:
        writer.commit_rows(rows)
    assert "orders-1 offset 7" in str(halt.value)
    assert halt.value.partitions == (1,)


def test_isolated_fault_behind_another_partitions_holes_halts_its_own(bench: MakeBench) -> None:
    writer = bench(_raising("F0000"), _COLUMNS, (0, 1))
    rows = decoded(writer.pipeline, records_of([{"id": "b", "v": -1}], 7, 1), [Tile(0, 0, 4), Tile(1, 0, 9)])
    for _ in range(2):
        with pytest.raises(UnknownFault):
            writer.commit_rows(rows)
        writer.store.close()
        writer.claim([0, 1], dict(writer.writer.epochs))
    with pytest.raises(Halt) as halt:
        writer.commit_rows(rows)
    assert halt.value.partitions == (1,)
    assert "orders-1 offset 7" in str(halt.value)


def test_session_that_isolates_is_the_one_that_claimed(bench: MakeBench) -> None:
    """Else the next claim could not end it."""
    writer = bench(_raising("F0000"), _COLUMNS)
    for _ in range(2):
        with pytest.raises(UnknownFault):
            writer.commit(_values(8, bad=5))
        _claim_again(writer)
    with pytest.raises(Halt):
        writer.commit(_values(8, bad=5))
    holder = ask(writer.url, "SELECT backend_pid FROM ingestd.cursors")[0][0]
    assert holder == writer.store.open().info.backend_pid


@pytest.mark.parametrize("sqlstate", ["53100", "53200", "57014", "55006", "40001", "40P01", "58030", "08006"])
def test_environments_fault_is_retried_and_buries_nothing(bench: MakeBench, sqlstate: str) -> None:
    writer = bench(_raising(sqlstate), _COLUMNS)
    for _ in range(5):
        with pytest.raises(Retryable) as fault:
            writer.commit(_values(20, bad=3))
        assert not isinstance(fault.value, UnknownFault)
        _claim_again(writer)
    assert (writer.cursor(), writer.dead(), writer.column()) == (0, [], [])


@pytest.mark.parametrize("sqlstate", ["42501", "42P01", "3F000", "28000"])
def test_fault_that_a_person_must_mend_halts(bench: MakeBench, sqlstate: str) -> None:
    writer = bench(_raising(sqlstate), _COLUMNS)
    with pytest.raises(Halt) as halt:
        writer.commit(_values(20, bad=3))
    assert sqlstate in str(halt.value)
    assert (writer.cursor(), writer.dead(), writer.column()) == (0, [], [])


def test_privilege_taken_away_while_running_halts(database: str) -> None:
    ask(database, "CREATE ROLE writer LOGIN PASSWORD 'w'")
    try:
        ask(database, "CREATE TABLE orders (id text PRIMARY KEY, v int)")
        ask(database, "GRANT CREATE ON DATABASE " + database.rsplit("/", 1)[1] + " TO writer")
        ask(database, "GRANT INSERT, SELECT ON orders TO writer")
        info = psycopg.conninfo.conninfo_to_dict(database)
        writer = Bench(f"postgresql://writer:w@{info['host']}:{info['port']}/{info['dbname']}", pipeline_of(_COLUMNS))
        writer.commit(_values(3, bad=-1))
        ask(database, "REVOKE INSERT ON orders FROM writer")
        with pytest.raises(Halt) as halt:
            writer.commit(_values(3, bad=-1), 3)
        assert "42501" in str(halt.value)
        assert ask(database, "SELECT next_offset FROM ingestd.cursors") == [(3,)]
        writer.store.close()
    finally:
        with suppress(psycopg.Error):
            ask(database, "DROP OWNED BY writer CASCADE")
        ask(database, "DROP ROLE writer")


def test_unknown_fault_is_counted_at_its_own_partition_while_another_goes_on(bench: MakeBench) -> None:
    """Else a partition with traffic before it would keep it from ever being isolated."""
    writer = bench(_raising("F0000"), _COLUMNS, (0, 1))
    for attempt in range(3):
        good, bad = records_of([{"id": f"{attempt}", "v": 1}], attempt, 0), records_of([{"id": "x", "v": -1}], 7, 1)
        rows = decoded(writer.pipeline, good + bad, [Tile(0, attempt, attempt + 1), Tile(1, 0, 9)])
        with pytest.raises(Halt if attempt == 2 else UnknownFault):
            writer.commit_rows(rows)
        if attempt < 2:
            writer.store.close()
            writer.claim([0, 1], dict(writer.writer.epochs))
            writer.commit_rows(decoded(writer.pipeline, good))
    assert (writer.cursor(0), writer.cursor(1)) == (3, 7)  # 0 to 6 are holes
