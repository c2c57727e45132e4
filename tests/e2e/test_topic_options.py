"""The commands on a pipeline of many topics: for all of them, or with --topic for one; and each topic's own memory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, events, ingestd
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{prefix}"
[store]
url = "{url}"
[status]
enabled = false
[[pipeline]]
name = "special"
topic = "{prefix}.special"
column = [{{ name = "id", type = "int8", required = true }}]
table = {{ name = "special", mode = "insert", key = ["id"], create = true }}
[[pipeline]]
name = "many"
topic = "{prefix}.*"
column = [
  {{ name = "id", type = "int8", required = true }},
  {{ name = "note", type = "text" }},
  {{ name = "op", type = "text", stored = false }},
]
[pipeline.dead_letters]
max_ratio = 1
[pipeline.table]
name = "{{table}}"
mode = "upsert"
key = ["id"]
create = true
[pipeline.table.delete]
when = {{ op = "delete" }}
how = "hard"
"""


@pytest.fixture(params=["postgresql", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    yield f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue("database")


def ids(file: Path, table: str) -> list[int]:
    answer = ingestd("query", "--config", file, "--table", table, "--format", "json")
    assert answer.returncode == 0, answer.stderr
    return sorted(row["id"] for row in json.loads(answer.stdout))


def test_commands_do_it_for_all_topics_or_for_one(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, store: str, tmp_path: Path
) -> None:
    prefix, file = f"options-{os.getpid()}-{tmp_path.name[-2:]}-{store[:2]}", tmp_path / "c.toml"
    file.write_text(CONFIG.format(bootstrap=kafka.bootstrap_servers, prefix=prefix, url=store))
    for table in ("a", "b", "special"):
        topic(1, name=f"{prefix}.{table}")
    produce(f"{prefix}.special", events(3))
    produce(f"{prefix}.a", [*events(3), '{"id": 1, "op": "delete"}', '{"id": "bad"}'])
    produce(f"{prefix}.b", [*events(5), '{"id": "bad"}', '{"note": "none"}'])
    checked = ingestd("check", "--config", file)
    assert checked.returncode == 0, checked.stdout
    assert f"2 topics, 2 partitions: {prefix}.a, {prefix}.b; pipelines above read 1 more" in checked.stdout
    assert "table b" in checked.stdout

    assert catch_up(file)[0] == 0
    assert ids(file, "a") == [0, 2]
    assert ids(file, "b") == [0, 1, 2, 3, 4], "a delete in another topic's table is not theirs"
    assert len(ids(file, "special")) == 3, "read by the pipeline above, and only by that one"

    on_many = ("--config", file, "--pipeline", "many")
    listed = ingestd("dead-letters", "list", *on_many).stdout
    assert listed.count(f"{prefix}.a-0@") == 1 and listed.count(f"{prefix}.b-0@") == 2
    assert f"{prefix}.a-0@" not in ingestd("dead-letters", "list", *on_many, "--topic", f"{prefix}.b").stdout
    mended = ingestd("dead-letters", "redrive", *on_many, "--offset", "4..5", "--fix", "id=99")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert ids(file, "a") == [0, 2, 99] and ids(file, "b") == [0, 1, 2, 3, 4, 99], "each into its own table"
    dropped = ingestd("dead-letters", "drop", *on_many, "--topic", f"{prefix}.b", "--yes")
    assert "dropped 1 dead letters" in dropped.stdout, dropped.stdout + dropped.stderr
    verified = ingestd("verify", "--config", file)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.count("everything is accounted for") == 3

    shown = ingestd("offsets", "show", *on_many).stdout
    assert [line for line in shown.splitlines() if line.startswith("topic")] == [
        f"topic {prefix}.a",
        f"topic {prefix}.b",
    ]
    moved = ingestd("offsets", "reset", *on_many, "--to", "earliest", "--yes", "--topic", f"{prefix}.a")
    assert f"{prefix}.a-0: 5 -> 0" in moved.stdout and f"{prefix}.b-0" not in moved.stdout
    assert catch_up(file)[0] == 0
    assert ids(file, "a") == [0, 2, 99], "the deleted row does not come back"
    unclear = ingestd("query", *on_many)
    assert unclear.returncode == 2 and f"--topic: choose one of {prefix}.a, {prefix}.b" in unclear.stderr
    assert ingestd("query", *on_many, "--topic", f"{prefix}.b").returncode == 0


def test_two_topics_never_fill_one_table(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    prefix, file = f"clash-{os.getpid()}", tmp_path / "c.toml"
    file.write_text(CONFIG.format(bootstrap=kafka.bootstrap_servers, prefix=prefix, url=database))
    topic(1, name=f"{prefix}.special")
    produce(topic(1, name=f"{prefix}.x.same"), events(3))
    assert catch_up(file)[0] == 0
    produce(topic(1, name=f"{prefix}.y.same"), events(9))
    code, daemon = catch_up(file)
    assert code == 4, daemon.log()
    (halted,) = daemon.events("partition halted")
    assert f"topic {prefix}.y.same: table same is filled from topic {prefix}.x.same already" in halted["reason"]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM same").fetchone() == (3,)
    assert "would both fill it" in ingestd("check", "--config", file).stdout
