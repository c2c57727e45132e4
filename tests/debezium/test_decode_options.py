"""What `[pipeline.cdc]` settles by itself, and what it does not go with."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.config.live_copy import live_copy
from ingestd.config.options import Column, Delete
from ingestd.errors import ConfigError
from tests.debezium.changes import copy_of

BASE = """
[kafka]
bootstrap_servers = "b:9092"
group_id = "g"
[store]
url = "postgresql://u@h/d"
[[pipeline]]
name = "p"
topic = "shop.public.orders"
{options}
[pipeline.cdc]
{cdc}
{columns}
[pipeline.table]
name = "orders"
mode = "{mode}"
{table}
"""
COLUMNS = """
[[pipeline.column]]
name = "id"
type = "int4"
required = true
[[pipeline.column]]
name = "note"
type = "text"
{more}
"""


def written(
    folder: Path,
    options: str = "",
    cdc: str = "",
    columns: str | None = None,
    mode: str = "upsert",
    table: str = 'key = ["id"]',
    more: str = "",
) -> Path:
    file = folder / "ingestd.toml"
    given = COLUMNS.format(more=more) if columns is None else columns
    file.write_text(BASE.format(options=options, cdc=cdc, columns=given, mode=mode, table=table))
    return file


def test_a_loaded_pipeline_is_a_copy_with_hard_deletes_and_its_lsn(tmp_path: Path) -> None:
    (pipeline,) = load(written(tmp_path, cdc='lsn_column = "lsn"'), {}).pipeline
    assert pipeline.table.delete == Delete(how="hard")
    assert [(c.name, c.required, c.keep_when_absent) for c in pipeline.column] == [
        ("id", True, False),
        ("note", False, True),
        ("lsn", False, False),
    ]
    assert live_copy(pipeline) == pipeline


def test_columns_from_events_need_neither_columns_nor_a_key(tmp_path: Path) -> None:
    (pipeline,) = load(written(tmp_path, cdc='columns = "from_events"', columns="", table=""), {}).pipeline
    assert pipeline.column == ()


def test_a_declared_lsn_column_is_not_added_again() -> None:
    pipeline = live_copy(copy_of(Column(name="id", type="int4"), Column(name="at", type="int8"), lsn_column="at"))
    assert [column.name for column in pipeline.column] == ["id", "at"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "append"}, "keeps no copy"),
        ({"table": 'key = ["id"]\nversion = "note"'}, "LSNs go backwards"),
        ({"table": 'key = ["id"]\ndelete = { tombstone = true, how = "soft" }'}, "deletes are hard"),
        ({"table": ""}, "pipeline[0].table.key"),
        ({"options": 'format = "msgpack"'}, "holds no change events"),
        ({"options": 'on_new_field = "evolve"'}, "from_events"),
        (
            {
                "options": 'dedupe = { table = "seen", key = "event" }',
                "more": '[[pipeline.column]]\nname = "event"\ntype = "uuid"\nrequired = true',
            },
            "every change of a row counts",
        ),
        ({"more": 'default = "x"'}, "events bring it"),
        ({"cdc": 'lsn_column = "note"'}, "an LSN is an int8"),
        ({"cdc": 'unavailable = ""'}, "unavailable.value.placeholder"),
        ({"cdc": 'decimals = "exact"'}, "decimals"),
    ],
)
def test_what_change_events_do_not_go_with_is_said(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as failure:
        load(written(tmp_path, **wrong), {})
    assert said in str(failure.value)
