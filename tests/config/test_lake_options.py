"""What a lake cannot be made of is said before anything runs, each with its place in the file."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.errors import ConfigError

WHOLE = """
[kafka]
bootstrap_servers = "localhost:9092"
group_id = "g"
[store]
url = "sqlite:///ledger.db"
[[pipeline]]
name = "p"
topic = "t"
column = [
  { name = "id", type = "int8" },
  { name = "at", type = "timestamptz" },
  { name = "tags", type = "text[]" },
  { name = "seen", type = "text", stored = false },
]
[pipeline.lake]
path = "lake/p"
partition_by = ["id", "year(at)", "month(at)"]
sort_by = ["at"]
"""
PARTITIONS = 'partition_by = ["id", "year(at)", "month(at)"]'
SORT = 'sort_by = ["at"]'


def _load(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ingestd.toml"
    file.write_text(text)
    load(file, {})


def test_a_lake_without_a_table_is_enough(tmp_path: Path) -> None:
    _load(tmp_path, WHOLE)
    _load(tmp_path, WHOLE.replace("lake/p", "s3://bucket/p"))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('topic = "t"', 'topic = "t"\non_new_field = "evolve"', '"evolve" adds columns to a table'),
        (PARTITIONS, 'partition_by = ["nr"]', 'lake.partition_by: "nr" is not a stored column'),
        (PARTITIONS, 'partition_by = ["seen"]', 'lake.partition_by: "seen" is not a stored column'),
        (PARTITIONS, 'partition_by = ["year(id)"]', "id is int8, not a timestamp or date"),
        (PARTITIONS, 'partition_by = ["id", "id"]', 'two directories named "id="'),
        (SORT, 'sort_by = ["nr"]', 'lake.sort_by: "nr" is not a stored column'),
        (SORT, 'sort_by = ["tags"]', 'lake.sort_by: "tags" is text\\[\\]; arrays have no order'),
        (SORT, SORT + '\ncolumns = ["id"]', 'lake.sort_by: "at" is not in lake.columns'),
        (SORT, 'columns = ["seen"]', 'lake.columns: "seen" is not a stored column'),
        ('"lake/p"', '"s3:///p"', "lake.path: names no bucket"),
        ('"lake/p"', '"s3://b/p"\ncompact = { every = "1h" }', "lake.compact.readers: an object store cannot"),
        ('[pipeline.lake]\npath = "lake/p"', "[pipeline.batch]", "table: is missing, and so is a lake"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, before: str, after: str, said: str) -> None:
    text = WHOLE.replace(before, after)
    if "[pipeline.lake]" not in text:
        text = text.replace(PARTITIONS, "").replace(SORT, "")
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, text)


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("lake/p/", r"is the lake of pipeline\[0\]"),
        ("lake/p/id=1", r"is inside the lake of pipeline\[0\]"),
        ("./lake/../lake/p/x", r"is inside the lake of pipeline\[0\]"),
        ("lake", r"has the lake of pipeline\[0\] inside"),
    ],
)
def test_two_pipelines_do_not_share_a_root(tmp_path: Path, root: str, said: str) -> None:
    pipeline = WHOLE[WHOLE.index("[[pipeline]]") :]
    second = pipeline.replace('"p"', '"q"').replace('"t"', '"u"').replace("lake/p", root)
    with pytest.raises(ConfigError, match=said):
        _load(tmp_path, WHOLE + second)


def test_roots_beside_each_other_are_fine(tmp_path: Path) -> None:
    pipeline = WHOLE[WHOLE.index("[[pipeline]]") :]
    _load(tmp_path, WHOLE + pipeline.replace('"p"', '"q"').replace('"t"', '"u"').replace("lake/p", "lake/pq"))
