"""`ingestd query`: the same answers from PostgreSQL and SQLite, and no way to change anything or to fool a terminal."""

import csv
import io
import sqlite3
from pathlib import Path

import orjson
import psycopg
import pytest

from ingestd.cli import main

CONFIG = """
[kafka]
bootstrap_servers = "localhost:1"
group_id = "g"
[store]
url = "{url}"
[[pipeline]]
name = "prescribers"
topic = "prescriber_events"
column = [
  {{ name = "npi", type = "text", required = true }},
  {{ name = "source", type = "text" }},
  {{ name = "last_ts", type = "float8" }},
]
[pipeline.table]
name = "silver"
mode = "insert"
key = ["npi"]
[pipeline.query]
column = [
  {{ name = "npi", label = "NPI" }},
  {{ name = "last_event_type", label = "event" }},
  {{ name = "source" }},
  {{ name = "last_ts", label = "last_ts_utc", format = "utc" }},
  {{ name = "updated_at_utc" }},
]
"""
TABLE = "CREATE TABLE silver (npi TEXT PRIMARY KEY, last_event_type TEXT, source TEXT, last_ts {}, updated_at_utc TEXT)"
ROWS = [
    ("2", "delete", "cms_partd", 1769021700.0, "2026-01-22T00:00:00Z"),
    ("1", "upsert", None, 1769021700.9, "2026-01-21T19:00:00Z"),
]


@pytest.fixture(params=["postgres", "sqlite"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A configuration whose table has two rows."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'silver.db'}"
        with sqlite3.connect(tmp_path / "silver.db") as small:
            small.execute(TABLE.format("REAL"))
            small.executemany("INSERT INTO silver VALUES (?, ?, ?, ?, ?)", ROWS)
        small.close()
    else:
        url = request.getfixturevalue("database")
        with psycopg.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute(TABLE.format("double precision").encode())
            cursor.executemany("INSERT INTO silver VALUES (%s, %s, %s, %s, %s)", ROWS)
    path = tmp_path / "ingestd.toml"
    path.write_text(CONFIG.format(url=url))
    return path


def _query(file: Path, *words: str) -> int:
    return main(["query", "--config", str(file), *words])


def test_table_has_the_headings_and_formats_of_the_configuration(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _query(file) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NPI  event   source     last_ts_utc           updated_at_utc",
        "---  ------  ---------  --------------------  --------------------",
        "1    upsert  null       2026-01-21 18:55:00Z  2026-01-21T19:00:00Z",
        "2    delete  cms_partd  2026-01-21 18:55:00Z  2026-01-22T00:00:00Z",
    ]


def test_limit_says_that_there_is_more(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _query(file, "--limit", "1", "--format", "csv") == 0
    told = capsys.readouterr()
    assert len(list(csv.reader(io.StringIO(told.out)))) == 2
    assert "only the first 1 rows" in told.err
    assert _query(file, "--limit", "2") == 0
    assert capsys.readouterr().err == ""


def test_hostile_values_reach_neither_the_terminal_nor_the_structure(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = r"""SELECT 'a' || {}(27) || '[2J' || {}(10) || '","x' AS "he""ad" """
    odd = odd.format(*["chr"] * 2) if "postgres" in file.read_text() else odd.format(*["char"] * 2)
    text = 'a\x1b[2J\n","x'
    assert _query(file, "--sql", odd) == 0
    assert capsys.readouterr().out.splitlines()[2] == 'a\\x1b[2J\\n","x'
    assert _query(file, "--sql", odd, "--format", "csv") == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [['he"ad'], [text]]
    assert _query(file, "--sql", odd, "--format", "json") == 0
    assert orjson.loads(capsys.readouterr().out) == [{'he"ad': text}]


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM silver", "SELECT 1; DELETE FROM silver", "COMMIT; DELETE FROM silver", "CREATE TABLE x (y text)"],
)
def test_query_changes_nothing(file: Path, statement: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _query(file, "--sql", statement) == 3
    assert capsys.readouterr().err.startswith("ingestd: error: ")
    assert _query(file, "--sql", "SELECT count(*) AS n FROM silver", "--format", "json") == 0
    assert orjson.loads(capsys.readouterr().out) == [{"n": 2}]


def test_query_does_not_make_a_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert _query(file, "--sql", f"ATTACH DATABASE '{tmp_path / 'made.db'}' AS made") == 3
    assert capsys.readouterr().err.startswith("ingestd: error: ")
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_query_is_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _query(file, "--table", 'no"such; table') == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_values_that_python_has_no_type_for_are_shown(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ingestd.toml"
    file.write_text(CONFIG.format(url=database))
    odd = """SELECT 'infinity'::timestamptz AS a, '0044-03-15 BC'::date AS b, 1.10::numeric(9,2) AS c,
             'NaN'::numeric AS d, '{"x": [1, null]}'::jsonb AS e, '\\x00ff'::bytea AS f,
             null AS g, true AS h, ARRAY[1,2] AS i"""
    assert _query(file, "--sql", odd, "--format", "json") == 0
    (row,) = orjson.loads(capsys.readouterr().out)
    assert list(row.values()) == [
        "infinity", "0044-03-15 BC", "1.10", "NaN", {"x": [1, None]}, "\\x00ff", None, True, [1, 2]
    ]  # fmt: skip
