"""`ingestd query --lake`: what the manifest names, of one moment, and nothing else can be read or changed."""

import csv
import io
import json
import re
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from ingestd.cli import main
from ingestd.errors import ExitCode
from tests.query.lakes import MadeLake, event, lake_config


def query(made: MadeLake, *words: str) -> int:
    return main(["query", "--config", str(made.file), "--lake", *words])


def answer(made: MadeLake, capsys: pytest.CaptureFixture[str], sql: str) -> list[dict[str, object]]:
    assert query(made, "--format", "json", "--sql", sql) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_settled_and_committed_files_are_read_and_no_others(lake: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.commit([event(n) for n in range(10)])
    lake.commit([event(n) for n in range(10, 15)], settled=False)
    lake.write([event(n) for n in range(100, 200)])  # staged, and no commit names them
    assert answer(lake, capsys, "SELECT count(*) AS n, min(id) AS a, max(id) AS z FROM lake") == [
        {"n": 15, "a": 0, "z": 14}
    ]
    assert answer(lake, capsys, 'SELECT count(*) AS n FROM "crm.events"') == [{"n": 15}]
    lake.settle()
    assert answer(lake, capsys, "SELECT count(*) AS n FROM lake") == [{"n": 15}]


def test_partitions_are_columns_and_never_hide_what_the_files_say(
    lake: MadeLake, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "long " * 100
    lake.commit([event(1, kind=""), event(2, kind=None), event(3, kind=long), event(4, kind="a/../b", ts=None)])
    lake.commit([event(5)], settled=False)
    rows = answer(lake, capsys, "SELECT id, kind, year, month FROM lake ORDER BY id")
    assert rows == [
        {"id": 1, "kind": "", "year": 2026, "month": 2},
        {"id": 2, "kind": None, "year": 2026, "month": 1},
        {"id": 3, "kind": long, "year": 2026, "month": 2},
        {"id": 4, "kind": "a/../b", "year": None, "month": None},
        {"id": 5, "kind": "c", "year": 2026, "month": 2},
    ]
    assert answer(lake, capsys, "SELECT id FROM lake WHERE kind = '' OR kind LIKE 'long%' ORDER BY id") == [
        {"id": 1},
        {"id": 3},
    ]
    # Pruned by the partition's value: of the right files.
    wrong = "SELECT count(*) AS n FROM lake WHERE month = 2 AND month(ts) <> 2"
    assert answer(lake, capsys, wrong) == [{"n": 0}]
    assert answer(lake, capsys, "SELECT count(*) AS n FROM lake WHERE month = 2") == [{"n": 3}]


def test_a_column_that_is_in_no_older_file_is_null_there(
    lake: MadeLake, store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.commit([event(1)])
    newer = MadeLake(lake_config(tmp_path, store_url, columns='{ name = "note", type = "text" },'), prepare=False)
    newer._end = 1
    newer.commit([event(2, note="new")])
    newer.close()
    assert answer(lake, capsys, "SELECT id, note FROM lake ORDER BY id") == [
        {"id": 1, "note": None},
        {"id": 2, "note": "new"},
    ]


@pytest.mark.parametrize("newer", ["numeric(12,4)", "float8", "numeric(8,0)"])
def test_a_type_that_changed_loses_no_row_to_a_filter(
    newer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = MadeLake(lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db"))
    old.commit([event(2), event(5)])
    old.file.write_text(old.file.read_text().replace("numeric(10,2)", newer))
    new = MadeLake(old.file, prepare=False)
    new._end = 2
    new.commit([event(300, amount=1.0 if newer == "float8" else Decimal(1))])
    assert answer(new, capsys, "SELECT id FROM lake WHERE amount > 0.015 ORDER BY id") == [
        {"id": 2},
        {"id": 5},
        {"id": 300},
    ]
    assert answer(new, capsys, "SELECT id FROM lake WHERE amount < 0.024") == [{"id": 2}]
    new.close()
    old.close()


def test_formats_keep_every_digit_and_every_microsecond(lake: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.commit([event(101)])
    assert query(lake, "crm.events") == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["id", "kind", "amount", "ts", "tags", "year", "month"]
    assert re.split("  +", table[2]) == ["101", "c", "1.01", "2026-02-03 04:05:06.000789+00", '["x",null]', "2026", "2"]
    assert query(lake, "--format", "csv") == 0
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1][:4] == [
        "101",
        "c",
        "1.01",
        "2026-02-03 04:05:06.000789+00",
    ]


def test_arrow_stream_has_the_types_of_the_lake(lake: MadeLake, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    lake.commit([event(n) for n in range(30)])
    assert query(lake, "--format", "arrow", "--limit", "20") == 0
    found = pa.ipc.open_stream(capfdbinary.readouterr().out).read_all()
    assert found.num_rows == 20
    assert found.schema.field("amount").type == pa.decimal128(10, 2)
    assert found.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert found.schema.field("tags").type == pa.list_(pa.string())


def test_a_limit_says_that_there_are_more_rows(lake: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    lake.commit([event(n) for n in range(30)])
    assert query(lake, "--limit", "5", "--format", "csv") == 0
    shown = capsys.readouterr()
    assert (len(shown.out.splitlines()), "only the first 5 rows" in shown.err) == (6, True)
    assert query(lake, "--sql", "SELECT id FROM lake LIMIT 3", "--limit", "3") == 0
    assert capsys.readouterr().err == ""


def test_a_lake_without_files_has_its_columns(lake: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(lake, capsys, "SELECT count(*) AS n, min(year) AS y FROM lake") == [{"n": 0, "y": None}]


def test_a_store_that_never_saw_a_lake_is_an_empty_one(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeLake(lake_config(tmp_path, database), prepare=False)
    assert answer(made, capsys, "SELECT count(*) AS n FROM lake") == [{"n": 0}]
    made.close()


def contents(directory: Path) -> dict[Path, bytes]:
    """Every file, without those that SQLite keeps beside its own while it reads."""
    files = (path for path in directory.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
    return {path: path.read_bytes() for path in files}


FORBIDDEN = [
    "COPY (SELECT 1) TO '{tmp}/out.csv'",
    "COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{tmp}/out.csv'",
    "CREATE TABLE t AS SELECT 1",
    "SELECT 1; SELECT 2",
    "SET memory_limit = '100GB'",
    "ATTACH '{tmp}/other.db'",
    "INSTALL httpfs",
    "SELECT * FROM read_text('{tmp}/ingestd.toml')",
    "SELECT * FROM '{tmp}/ingestd.toml'",
    "SELECT * FROM glob('{tmp}/*')",
    "SELECT * FROM read_parquet('{tmp}/foreign.parquet')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{tmp}/out.csv''')",
    "SELECT * FROM enable_logging(storage = 'file', storage_config = {{'path': '{tmp}/out.csv'}})",
    "SELECT * FROM nothing",
    "this is no SQL",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_nothing_is_written_and_no_other_file_is_read(
    sql: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeLake(lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db"))
    made.commit([event(1)])
    made.close()
    file = next((tmp_path / "lake").rglob("*.parquet"))
    pa.parquet.write_table(pa.table({"secret": [1]}), tmp_path / "foreign.parquet")
    before = contents(tmp_path)
    assert query(made, "--sql", sql.format(tmp=tmp_path, file=file)) == ExitCode.STARTUP
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith("ingestd: error: ")
    assert contents(tmp_path) == before


def test_a_large_answer_is_spilled_and_a_too_large_question_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MadeLake(lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db"))
    made.commit([event(1)])
    made.close()
    wide = (
        "SELECT sum(length(v)) AS n FROM (SELECT repeat(i::VARCHAR, 30) AS v FROM range(1000000) t(i) ORDER BY hash(i))"
    )
    assert query(made, "--memory", "128", "--sql", wide) == 0
    assert int(capsys.readouterr().out.splitlines()[2]) == 30 * (sum(9 * 10**d * (d + 1) for d in range(6)) + 1)
    many = "SELECT list(i::VARCHAR || repeat('x', 100)) FROM range(10000000) t(i)"
    assert query(made, "--memory", "64", "--sql", many) == ExitCode.STARTUP
    assert "more memory" in capsys.readouterr().err


def test_a_missing_file_is_named_as_a_finding_not_as_a_smaller_count(
    lake: MadeLake, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.commit([event(n) for n in range(10)])
    next(Path(lake.place.url).rglob("*.parquet")).unlink()
    assert query(lake, "--sql", "SELECT count(*) FROM lake") == ExitCode.STARTUP
    assert "ingestd verify" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lake", "tables-only"), "choose one of crm.events"),
        (("--lake", "--table", "x"), "--table is a table of the store"),
        (("--format", "arrow", "--pipeline", "tables-only"), "are for --lake"),
        (("--lake", "crm.events", "--pipeline", "tables-only"), "name two pipelines"),
    ],
)
def test_words_that_contradict_each_other(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db")
    assert main(["query", "--config", str(file), *words]) == 2
    assert said in capsys.readouterr().err


def test_without_duckdb_the_command_that_installs_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.lake.engine.find_spec", lambda name: None)
    file = lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db")
    assert main(["query", "--config", str(file), "--lake"]) == ExitCode.STARTUP
    assert "pip install 'ingestd[lake]'" in capsys.readouterr().err
