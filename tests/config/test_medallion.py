"""What stage and current tables need of their bronze pipeline is asked for before anything runs."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.errors import ConfigError

BRONZE = """
[kafka]
bootstrap_servers = "localhost:9092"
group_id = "g"
[store]
url = "sqlite:///metadata.db"
[[pipeline]]
name = "bronze"
topic = "shop.public.*"
format = "raw"
column = [
  { name = "event", type = "text" },
  { name = "key", type = "text", source = "key" },
  { name = "topic", type = "text", source = "topic" },
  { name = "partition", type = "int4", source = "partition" },
  { name = "offset", type = "int8", source = "offset" },
  { name = "ts", type = "timestamptz", source = "timestamp" },
  { name = "run_id", type = "text", source = "run" },
]
[pipeline.lake]
path = "lake/bronze"
partition_by = ["run_id"]
compact = { into = "lake/compacted" }
[pipeline.medallion]
"""
DECLARED = 'columns = "declared"\nkey = ["id"]\ncolumn = [{ name = "id", type = "int8" }]\n'


def _load(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ingestd.toml"
    file.write_text(text)
    load(file, {})


def test_a_bronze_pipeline_with_tables_from_events_is_taken(tmp_path: Path) -> None:
    _load(tmp_path, BRONZE)
    _load(tmp_path, BRONZE + "[[pipeline.medallion.table]]\n" + DECLARED + 'partition_by = ["date(_ts)", "id"]')


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('format = "raw"', 'format = "json"', "bronze lake"),
        (', source = "run"', ', source = "now"', "source = run"),
        ('partition_by = ["run_id"]', 'partition_by = ["topic", "run_id"]', 'must begin with "run_id"'),
        ('partition_by = ["run_id"]', 'partition_by = ["run_id"]\ncolumns = ["event", "run_id"]', "leaves out key"),
        ('compact = { into = "lake/compacted" }', "", "lake.compact.into: is missing"),
        ("[pipeline.medallion]", '[pipeline.medallion]\ncurrent = "s3://b/current"', "medallion.current: must be"),
    ],
)
def test_what_bronze_lacks_is_said(tmp_path: Path, before: str, after: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, BRONZE.replace(before, after))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (DECLARED.replace('key = ["id"]', ""), "key: is missing"),
        (DECLARED.replace('["id"]', '["nr"]'), '"nr" is not a declared column'),
        (DECLARED.replace('name = "id"', 'name = "_op"').replace('["id"]', '["_op"]'), "column of every stage table"),
        (DECLARED + 'partition_by = ["day(id)"]', "id is int8, not a timestamp"),
        (DECLARED + 'partition_by = ["nr"]', '"nr" is no column'),
        ('column = [{ name = "id", type = "int8" }]', "is not declared with"),
        ('partition_by = ["date(_tz)"]', '"_tz" is no column'),
    ],
)
def test_what_a_table_contradicts_is_said(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, BRONZE + "[[pipeline.medallion.table]]\n" + table)
