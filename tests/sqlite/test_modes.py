"""What is in an SQLite table after each mode: append, insert, upsert; which rows are refused, and what is counted."""

from typing import Any

import msgspec
import pytest

from ingestd.config import options as cfg
from ingestd.errors import Halt
from tests.sinks.contracts import MemoryRecord
from tests.sqlite.bench import FileBench, ask
from tests.sqlite.conftest import MakeBench

_DDL = "CREATE TABLE orders (id TEXT PRIMARY KEY, v INTEGER)"
_COLUMNS = {"id": "text", "v": "int4"}


def test_duplicate_changes_nothing_and_is_counted(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    writer.commit([{"id": "b", "v": 1}, {"id": "a", "v": 1}, {"id": "b", "v": 2}])
    writer.commit([{"id": "a", "v": 3}, {"id": "c", "v": 3}], 3)
    assert ask(writer.path, "SELECT id, v FROM orders ORDER BY id") == [("a", 1), ("b", 1), ("c", 3)]
    assert [(counts[0].inserted, counts[0].duplicates) for counts in writer.seen.counts] == [(2, 1), (1, 1)]
    assert writer.cursor() == 5


def test_append_takes_every_record_and_keeps_defaults_of_other_columns(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id TEXT, v INT, kind TEXT DEFAULT 'plain')", _COLUMNS, mode="append")
    writer.commit([{"id": "a"}, {"id": "a"}, {"id": None, "v": 3}])
    assert ask(writer.path, "SELECT id, v, kind FROM orders ORDER BY 1") == [
        (None, 3, "plain"),
        ("a", None, "plain"),
        ("a", None, "plain"),
    ]


@pytest.mark.parametrize("count", [1, 64, 65, 300])
def test_each_refused_row_is_found_and_its_neighbours_go_in(bench: MakeBench, count: int) -> None:
    ddl = (
        "CREATE TABLE other (k INT PRIMARY KEY); INSERT INTO other VALUES (1);"
        "CREATE TABLE orders (id INT PRIMARY KEY, v INT NOT NULL CHECK (v > 0), f INT REFERENCES other, u INT UNIQUE);"
    )
    writer = bench(ddl, {"id": "int8", "v": "int4", "f": "int4", "u": "int4"})
    rows: list[dict[str, Any]] = [{"id": n, "v": 1, "f": 1, "u": n} for n in range(count)]
    rows += [{"id": 1000, "v": 0}, {"id": 1001}, {"id": 1002, "v": 1, "f": 2}, {"id": 1003, "v": 1, "u": 0}]
    writer.commit(rows)
    assert writer.column() == list(range(count))
    assert writer.dead() == [(count, "23514"), (count + 1, "23502"), (count + 2, "23503"), (count + 3, "23505")]


def test_trigger_that_leaves_rows_behind_leaves_none_of_the_refused(bench: MakeBench) -> None:
    """RAISE(FAIL) keeps what the statement had done; RAISE(ROLLBACK) ends the transaction."""
    for how in ("FAIL", "ROLLBACK", "ABORT"):
        table = f"orders_{how.lower()}"
        ddl = (
            f"CREATE TABLE {table} (id TEXT, v INT); CREATE TRIGGER refuse_{how} AFTER INSERT ON {table}"
            f" WHEN new.v < 0 BEGIN SELECT RAISE({how}, 'no'); END;"
        )
        pipeline = msgspec.structs.replace(_pipeline(mode="append", table=table), name=how)
        writer = bench(ddl, pipeline)
        writer.commit([{"id": str(n), "v": -1 if n in (30, 80) else n} for n in range(100)])
        assert len(ask(writer.path, f"SELECT * FROM {table}")) == 98
        found = 'SELECT "offset", sqlstate FROM ingestd_dead_letters WHERE pipeline = ? ORDER BY 1'
        assert ask(writer.path, found, how) == [(30, "P0001"), (80, "P0001")]


def test_deferred_constraint_costs_only_the_record_that_breaks_it(bench: MakeBench) -> None:
    ddl = (
        "CREATE TABLE other (k INT PRIMARY KEY);"
        "CREATE TABLE orders (id TEXT PRIMARY KEY, v INT REFERENCES other DEFERRABLE INITIALLY DEFERRED);"
    )
    writer = bench(ddl, _COLUMNS)
    writer.commit([{"id": str(n), "v": 9 if n == 3 else None} for n in range(8)])
    assert writer.dead() == [(3, "23503")]
    assert writer.cursor() == 8 and len(writer.column()) == 7


def _pipeline(**more: Any) -> cfg.Pipeline:
    table = {"name": more.pop("table", "orders"), "mode": more.pop("mode", "upsert"), **more.pop("table_options", {})}
    if table["mode"] != "append":
        table["key"] = ["id"]
    columns = more.pop("columns", [{"name": "id", "type": "text", "required": True}, {"name": "v", "type": "int4"}])
    base = {"name": "p", "topic": "orders", "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000}}
    return msgspec.convert({**base, "column": columns, "table": table, **more}, cfg.Pipeline)


def _rows(writer: FileBench) -> list[Any]:
    return ask(writer.path, "SELECT * FROM orders ORDER BY 1")


def _fates(writer: FileBench) -> dict[str, int]:
    names = ("inserted", "updated", "stale", "duplicates", "deleted", "dead")
    sums = ask(writer.path, f"SELECT {', '.join(f'sum({name})' for name in names)} FROM ingestd_cursors")[0]
    return {name: count for name, count in zip(names, sums, strict=True) if count}


def test_older_version_never_overwrites_a_newer_row(bench: MakeBench) -> None:
    writer = bench(_DDL, _pipeline(table_options={"version": "v"}))
    writer.commit([{"id": "a", "v": 5}, {"id": "a", "v": 3}, {"id": "b", "v": 1}])
    writer.commit([{"id": "a", "v": 4}, {"id": "b", "v": 2}, {"id": "c", "v": None}, {"id": "c", "v": 0}], 3)
    assert _rows(writer) == [("a", 5), ("b", 2), ("c", 0)]
    assert _fates(writer) == {"inserted": 3, "updated": 2, "stale": 2}


def test_rewind_changes_nothing(bench: MakeBench) -> None:
    columns = [
        *({"name": n, "type": "text", "required": n == "id"} for n in ("id", "said")),
        {"name": "v", "type": "int4"},
    ]
    for table, version in (("orders", "v"), ("other", "offset")):
        ddl = f"CREATE TABLE {table} (id TEXT PRIMARY KEY, said TEXT, v INT)"
        pipeline = _pipeline(columns=columns, table=table, table_options={"version": version})
        writer = bench(ddl, msgspec.structs.replace(pipeline, name=table))
        values = [{"id": "abc"[n % 3], "said": f"{n}", "v": n % 5} for n in range(40)]
        writer.commit(values[:20])
        writer.commit(values[20:], 20)
        before = ask(writer.path, f"SELECT * FROM {table} ORDER BY 1")
        ask(writer.path, "UPDATE ingestd_cursors SET next_offset = 0 WHERE pipeline = ?", table)
        writer.claim([0])
        for start in (0, 10, 25):
            # At every step: read to the end again, a rewind that overwrites would have mended itself.
            writer.commit(values[start : {0: 10, 10: 25, 25: 40}[start]], start)
            assert ask(writer.path, f"SELECT * FROM {table} ORDER BY 1") == before


@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        ("numeric(12,2)", "9.00", "10.00"),
        ("numeric(12,2)", "-10.00", "-9.00"),
        ("timestamptz", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z"),
        ("timestamptz", "2024-01-01T03:00:00+02:00", "2024-01-01T02:00:00Z"),
        ("int8", 9, 10),
        ("float8", 9.5, 10.0),
        ("date", "0999-01-01", "1000-01-01"),
        ("uuid", "0" * 32, "f" * 32),
        ("text", "B", "a"),
    ],
)
def test_versions_of_any_type_compare_as_their_values(bench: MakeBench, kind: str, older: Any, newer: Any) -> None:
    columns = [{"name": "id", "type": "text", "required": True}, {"name": "v", "type": kind}]
    writer = bench("", _pipeline(columns=columns, table_options={"version": "v", "create": True}))
    writer.commit([{"id": "a", "v": newer}, {"id": "b", "v": older}])
    writer.commit([{"id": "a", "v": older}, {"id": "b", "v": newer}, {"id": "b", "v": newer}], 2)
    assert _fates(writer) == {"inserted": 2, "stale": 1, "updated": 2}
    assert len({row[1] for row in _rows(writer)}) == 1


def test_several_version_columns_compare_one_after_the_other(bench: MakeBench) -> None:
    columns = [{"name": n, "type": "int4", "required": n == "id"} for n in ("id", "a", "b")]
    writer = bench("", _pipeline(columns=columns, table_options={"version": ["a", "b"], "create": True}))
    writer.commit([{"id": 1, "a": 2, "b": 1}, {"id": 1, "a": 1, "b": 9}, {"id": 1, "a": 2, "b": 0}])
    writer.commit([{"id": 1, "a": 2, "b": 3}, {"id": 1, "a": 2}], 3)
    assert _rows(writer) == [(1, 2, 3)]


def test_nan_is_a_dead_letter_and_not_null(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id TEXT PRIMARY KEY, v REAL)", {"id": "text", "v": "float8"})
    writer.commit([{"id": "a", "v": "NaN"}, {"id": "b", "v": "Infinity"}, {"id": "c", "v": 1.5}])
    assert ask(writer.path, "SELECT id, v FROM orders ORDER BY 1") == [("b", float("inf")), ("c", 1.5)]
    assert writer.dead() == [(0, "22003")]


def test_dead_letter_keeps_bytes_key_and_headers_as_they_were(bench: MakeBench) -> None:
    writer = bench(_DDL, _COLUMNS)
    pairs: list[tuple[str, bytes | None]] = [("a", b"\x00\xff"), ("nu\x00l", b""), ("\ud800", None)]
    writer.commit_records(
        [MemoryRecord(b"\x00\xffbad", 0, 0, b"\x00k", pairs), MemoryRecord(b"", 1, 0, None, None, -1)]
    )
    found = (
        'SELECT payload, record_key, headers, stage, topic_id, record_time FROM ingestd_dead_letters ORDER BY "offset"'
    )
    first, second = ask(writer.path, found)
    assert first[:2] == (b"\x00\xffbad", b"\x00k")
    assert '"base64":"AP8="' in first[2]
    assert first[3:] == ("decode", "id", "2023-11-14T22:13:20.000Z")
    assert second[:3] == (b"", None, None) and second[5] is None


def test_missing_table_and_column_and_key_halt_with_the_ddl(bench: MakeBench) -> None:
    with pytest.raises(Halt, match=r"does not exist.*CREATE TABLE"):
        bench("", _COLUMNS).commit([{"id": "a"}])
    writer = bench("CREATE TABLE orders (id TEXT)", _COLUMNS)
    with pytest.raises(Halt, match='no column "v": ALTER TABLE "orders" ADD COLUMN "v" INTEGER') as halt:
        writer.commit([{"id": "a"}])
    assert 'CREATE UNIQUE INDEX "orders_id_key" ON "orders" ("id");' in str(halt.value)
