"""Options of an upsert that contradict each other are refused when the file is loaded, all at once."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from tests.config.test_load import problems, whole

_COLUMNS = (
    '{ name = "id", type = "text", required = true }, { name = "ts", type = "int8" }, '
    '{ name = "doc", type = "jsonb", required = true }, { name = "aside", type = "int8", stored = false }, '
    '{ name = "now", type = "timestamptz", source = "now" }, { name = "part", type = "int8", keep_when_absent = true }'
)


def _text(table: str, columns: str = _COLUMNS) -> str:
    return whole(columns, table=f'\n[pipeline.table]\nname = "t"\n{table}\n')


_UPSERT = 'mode = "upsert"\nkey = ["id"]\n'


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('mode = "upsert"', 'key: is missing; mode = "upsert" needs the columns that make a row unique'),
        ('mode = "upsert"\nkey = ["id", "doc"]', 'key: column "doc" is jsonb, which is no key'),
        (_UPSERT + 'version = "tss"', 'version: "tss" is not a declared column; declared: id, ts'),
        (_UPSERT + 'version = ["ts", "ts"]', 'version: names "ts" twice'),
        (_UPSERT + 'version = ["ts", "offset"]', 'or add one with source = "offset"'),
        (_UPSERT + "version = []", "version: is empty"),
        (_UPSERT + 'version = "id"', 'version: "id" is in the key'),
        (_UPSERT + 'version = "doc"', 'version: column "doc" is jsonb, which has no order'),
        (_UPSERT + 'version = "now"', 'version: column "now" comes from "now"'),
        (_UPSERT + 'version = "part"', 'version: column "part" has keep_when_absent'),
        (_UPSERT + 'version = "aside"', 'version: column "aside" is not stored'),
        (_UPSERT + 'delete = { how = "hard" }', "delete: deletes nothing"),
        (_UPSERT + 'delete = { how = "hard", when = { ts = 1 }, mark = "gone" }', 'delete.mark: is for how = "soft"'),
        (_UPSERT + 'delete = { how = "soft", when = { ts = 1 }, mark = "ts" }', 'delete.mark: "ts" is a declared'),
        (
            _UPSERT + 'delete = { how = "soft", when = { ts = 1 }, retention = "1h" }',
            'delete.retention: is for how = "hard"',
        ),
    ],
)
def test_upsert_that_cannot_work_is_refused_with_its_place(tmp_path: Path, table: str, expected: str) -> None:
    found = problems(tmp_path, _text(table))
    assert any(expected in problem and "pipeline[0].table" in problem for problem in found), found


def test_column_named_like_one_of_staging_does_not_halt_the_daemon(tmp_path: Path) -> None:
    columns = '{ name = "id", type = "text", required = true }, { name = "ingestd_offset", type = "int8" }'
    (found,) = problems(tmp_path, _text(_UPSERT, columns))
    assert 'pipeline[0].column[1].name: "ingestd_offset" begins with ingestd_' in found


def test_table_of_the_ledger_is_not_taken_for_the_pipelines_own(tmp_path: Path) -> None:
    columns = '{ name = "id", type = "text" }'
    (found,) = problems(tmp_path, whole(columns, table='\n[pipeline.table]\nname = "ingestd.cursors"\n'))
    assert 'pipeline[0].table.name: "ingestd.cursors" is in the schema of the ledger' in found


def test_version_and_delete_without_upsert_are_refused(tmp_path: Path) -> None:
    columns = '{ name = "id", type = "text", required = true }, { name = "ts", type = "int8" }'
    table = 'mode = "insert"\nkey = ["id"]\nversion = "ts"\ndelete = { how = "hard", when = { ts = 1 } }'
    found = problems(tmp_path, _text(table, columns))
    assert [problem.partition("pipeline[0].table.")[2][:27] for problem in found] == [
        'version: is for mode = "ups',
        'delete: is for mode = "upse',
    ]


@pytest.mark.parametrize(
    "table",
    [
        _UPSERT,
        _UPSERT + 'version = ["ts"]',
        _UPSERT + 'version = "ts"\ndelete = { how = "soft", when = { ts = 1 }, mark = "gone" }',
        _UPSERT
        + 'version = "aside"\ndelete = { how = "hard", tombstone = false, when = { ts = 1 }, retention = "7d" }',
    ],
)
def test_upsert_that_works_is_taken(tmp_path: Path, table: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(_text(table))
    assert load(path, {}).pipeline[0].table.mode == "upsert"
