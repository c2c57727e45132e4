"""Which topics a pipeline means, what it becomes for each, and what the file's check says about that."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.commands.run import _topics
from ingestd.config.file import load
from ingestd.config.options import Config, Kafka, Pipeline, Store, Table
from ingestd.config.topics import for_topic, has_many_topics, memory_name, pipelines_of, reads_topic, subscriptions
from ingestd.errors import ConfigError

HEAD = """
[kafka]
bootstrap_servers = "localhost:9092"
group_id = "g"
[store]
url = "postgresql://u@h/db"
"""
COLUMN = 'column = [{ name = "id", type = "int8", required = true }]\n'


def pipeline(topic: str, table: str = "{table}", name: str = "p") -> Pipeline:
    return Pipeline(name=name, topic=topic, table=Table(name=table))


def problems(tmp_path: Path, *lines: str) -> list[str]:
    (tmp_path / "c.toml").write_text(HEAD + '[[pipeline]]\nname = "p"\n' + COLUMN + "\n".join(lines))
    try:
        load(tmp_path / "c.toml", {})
    except ConfigError as error:
        return list(error.problems)
    return []


def test_a_name_means_itself_and_a_pattern_any_characters_in_its_place() -> None:
    many = pipeline("orders, cdc.public.*,x-*-z")
    for topic in ("orders", "cdc.public.users", "cdc.public.", "x--z", "x-y-z"):
        assert reads_topic(many, topic), topic
    for topic in ("order", "orders2", "cdcxpublic.users", "cdc.publicusers", "x-z"):
        assert not reads_topic(many, topic), topic
    assert has_many_topics(many) and not has_many_topics(pipeline("orders"))


def test_kafkas_own_topics_are_meant_only_when_they_are_asked_for() -> None:
    assert not reads_topic(pipeline("*"), "__consumer_offsets")
    assert reads_topic(pipeline("__debezium*"), "__debezium-heartbeat.cdc")


@given(st.from_regex(r"[a-z.*_-]{1,12}", fullmatch=True), st.from_regex(r"[a-z._-]{1,12}", fullmatch=True))
def test_what_is_subscribed_to_is_what_is_read(pattern: str, topic: str) -> None:
    """The broker's side of the group and ours must agree: a topic assigned and not read would have no worker."""
    one = pipeline(pattern)
    (asked,) = subscriptions(one)
    matches = re.search(asked, topic) is not None if asked.startswith("^") else asked == topic
    assert matches == reads_topic(one, topic) or topic.startswith("__")


def test_what_stands_above_a_pattern_is_an_exception_to_it() -> None:
    special, rest, also = pipeline("cdc.users"), pipeline("cdc.*"), pipeline("cdc.users")
    assert pipelines_of([special, rest], "cdc.users") == [0]
    assert pipelines_of([special, rest], "cdc.orders") == [1]
    assert pipelines_of([rest, special], "cdc.users") == [0, 1], "a topic that is named is always read"
    assert pipelines_of([special, also], "cdc.users") == [0, 1], "as ever"
    assert pipelines_of([rest, pipeline("*")], "cdc.users") == [0]


def test_table_is_made_of_the_topic() -> None:
    names = [for_topic(pipeline("cdc.*", table), "cdc.public.users").table.name for table in NAMES]
    assert names == ["users", "public.users", "cdc_public_users_raw"]
    assert for_topic(pipeline("a,b", "{schema}.{table}"), "a").table.name == "public.a"


NAMES = ("{table}", "{schema}.{table}", "{topic}_raw")


def test_each_topic_of_many_remembers_deletes_of_its_own() -> None:
    """Two tables have the same keys: a memory for both would lose rows."""
    many, one = pipeline("cdc.*"), pipeline("cdc.a")
    assert memory_name(for_topic(many, "cdc.a")) != memory_name(for_topic(many, "cdc.b"))
    assert memory_name(for_topic(one, "cdc.a")) == "p", "the name it has had before"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['topic = "a*"', 'table = { name = "t" }'], 'table.name: must contain "{table}" or "{topic}"'),
        (['topic = "a.x,b.x"', 'table = { name = "{table}" }'], 'table.name: is "x" for both a.x and b.x'),
        (['topic = "a,a"', 'table = { name = "{table}" }'], "topic: names a topic twice"),
        (['topic = "a*"', 'table = { name = "{table}", create = true, ddl = "t.sql" }'], "table.ddl: makes one table"),
        (
            ['topic = "a*"', 'table = { name = "{table}" }', 'dead_letters = { topic = "a-dead" }'],
            '"a-dead" is one of the topics that a* means: its dead letters would come back',
        ),
    ],
)
def test_contradictions_are_named(tmp_path: Path, lines: list[str], expected: str) -> None:
    (tmp_path / "t.sql").write_text("CREATE TABLE t (id bigint)")
    found = problems(tmp_path, *lines)
    assert any(expected in problem for problem in found), found


def test_patterns_with_tables_of_their_own_are_accepted(tmp_path: Path) -> None:
    for name in NAMES:
        lines = ['topic = "cdc.public.*, other"', f'table = {{ name = "{name}", create = true }}']
        assert problems(tmp_path, *lines, 'dead_letters = { topic = "dead" }') == []


def test_an_embedded_broker_gets_the_topics_that_are_named_and_no_pattern() -> None:
    config = Config(
        kafka=Kafka(bootstrap_servers="embedded", group_id="g"),
        store=Store(url="sqlite:///x.db"),
        pipeline=(pipeline("orders, cdc.*"), pipeline("sales", name="q")),
    )
    assert _topics(config) == ["orders", "sales"]
