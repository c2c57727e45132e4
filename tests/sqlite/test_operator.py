"""`ingestd check` and `ingestd offsets` on an SQLite file: what they say of it; only a decision moves a cursor."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingestd.cli import main
from ingestd.config import options as cfg
from ingestd.errors import ExitCode, LeaseLost, StartupError
from ingestd.preflight.findings import State
from ingestd.preflight.sqlite import examine_sqlite
from ingestd.stores.cursors import Move
from ingestd.stores.sqlite.cursors import move_cursors, read_cursor_rows
from tests.sqlite.bench import ask
from tests.sqlite.conftest import KEY, MakeBench


def _config(path: str, **table: Any) -> cfg.Config:
    pipeline = {
        "name": "p",
        "topic": "orders",
        "column": [{"name": "id", "type": "text", "required": True}, {"name": "v", "type": "numeric(10,2)"}],
        "table": {"name": "orders", "mode": "insert", "key": ["id"], **table},
    }
    kafka = {"bootstrap_servers": "h:9092", "group_id": "g"}
    return msgspec.convert({"kafka": kafka, "store": {"url": f"sqlite:///{path}"}, "pipeline": [pipeline]}, cfg.Config)


def _said(path: str, **table: Any) -> list[tuple[State, str]]:
    return [(found.state, found.line()) for found in examine_sqlite(_config(path, **table))]


def test_file_that_is_missing_is_announced_and_not_made(path: str) -> None:
    said = _said(path, create=True)
    assert {state for state, _ in said} == {State.OK}
    assert "will be created" in said[0][1]
    assert not os.path.exists(path)


def test_missing_directory_and_foreign_file_are_told_apart(tmp_path: Path) -> None:
    ((state, line),) = _said(f"{tmp_path}/nowhere/x.db")
    assert state is State.FAIL and "does not exist; mkdir -p" in line
    foreign = tmp_path / "notes.txt"
    foreign.write_text("no database " * 100)
    assert any("file is not a database" in line for state, line in _said(str(foreign)) if state is State.FAIL)


def test_column_that_would_change_values_and_missing_key_are_found(path: str) -> None:
    ask(path, "CREATE TABLE orders (id TEXT, v DECIMAL(10,2), must TEXT NOT NULL)")
    lines = "\n".join(line for state, line in _said(path) if state is State.FAIL)
    assert 'column "v" of orders is DECIMAL(10,2), which changes numeric(10,2) values' in lines
    assert 'CREATE UNIQUE INDEX "orders_id_key" ON "orders" ("id");' in lines
    assert 'column "must" of orders is NOT NULL, has no default and is not declared' in lines


def test_table_that_would_be_made_is_not_made(path: str) -> None:
    ask(path, "CREATE TABLE other (x)")
    assert any("table orders: will be created" in line for _, line in _said(path, create=True))
    assert ask(path, "SELECT name FROM sqlite_schema") == [("other",)]


@pytest.mark.parametrize(
    ("declared", "kind", "fits"),
    [
        ("REAL", "epoch", True),
        ("TEXT", "epoch", False),
        ("INTEGER", "text", False),
        ("TEXT", "int8", True),
        ("REAL", "int8", False),
        ("REAL", "int4", True),
        ("NUMERIC", "numeric(10,2)", False),
        ("VARCHAR(10)", "numeric(10,2)", True),
        ("DATETIME", "timestamptz", True),
        ("UUID", "uuid", True),
        ("INT", "uuid", False),
        ("JSON", "jsonb", False),
        ("", "jsonb", True),
        ("BLOB", "bytea", True),
        ("BOOLEAN", "bool", True),
    ],
)
def test_affinity_is_accepted_where_it_loses_nothing(path: str, declared: str, kind: str, fits: bool) -> None:
    ask(path, f"CREATE TABLE orders (id {declared})")
    column = [{"name": "id", "type": kind}]
    config = _config(path, mode="append", key=[])
    pipeline = msgspec.structs.replace(config.pipeline[0], column=msgspec.convert(column, tuple[cfg.Column, ...]))
    states = {found.state for found in examine_sqlite(msgspec.structs.replace(config, pipeline=(pipeline,)))}
    assert (State.FAIL not in states) == fits


def test_cursor_held_by_a_living_worker_is_not_moved(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id TEXT PRIMARY KEY)", {"id": "text"})
    writer.commit([{"id": "a"}])
    (row,) = read_cursor_rows(writer.path, KEY)
    assert (row.next_offset, row.held, row.held_from) == (1, True, f"process {os.getpid()}")
    with pytest.raises(StartupError, match="a worker holds it"):
        move_cursors(writer.path, KEY, [Move(0, 0, "id")])
    assert writer.cursor() == 1


def test_cursor_of_a_dead_worker_is_moved_and_the_zombie_is_fenced(bench: MakeBench) -> None:
    writer = bench("CREATE TABLE orders (id TEXT PRIMARY KEY)", {"id": "text"})
    writer.commit([{"id": "a"}])
    ask(writer.path, "UPDATE ingestd_cursors SET backend_start = '1.x'")
    move_cursors(writer.path, KEY, [Move(0, 0, "id")])
    assert writer.cursor() == 0
    ended = "SELECT range_start, range_end, records, ended_by LIKE 'reset to 0 by %' FROM ingestd_ranges"
    assert ask(writer.path, ended) == [(0, 1, 1, 1)]
    with pytest.raises(LeaseLost):
        writer.commit([{"id": "b"}], 1)
    with contextlib.closing(sqlite3.connect(writer.path)) as connection:
        assert connection.execute("SELECT id FROM orders").fetchall() == [("a",)]


def test_unknown_file_has_no_cursors(path: str) -> None:
    assert read_cursor_rows(path, KEY) == []
    assert not os.path.exists(path)


def test_command_does_not_end_as_a_crash_when_no_broker_answers(
    bench: MakeBench, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench("CREATE TABLE orders (id TEXT)", {"id": "text"})
    file = tmp_path / "ingestd.toml"
    file.write_text(f"""
        kafka = {{ bootstrap_servers = "127.0.0.1:1", group_id = "g" }}
        store = {{ url = "sqlite:///{path}" }}
        [[pipeline]]
        name = "p"
        topic = "orders"
        column = [{{ name = "id", type = "text" }}]
        table = {{ name = "orders" }}
    """)
    monkeypatch.setattr("ingestd.source.kafka._METADATA_TIMEOUT_SECS", 1)
    assert main(["offsets", "show", "--config", str(file)]) == ExitCode.STARTUP
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "127.0.0.1:1" in said[0] and "ingestd check" in said[0]
