"""Where ingestd must not go on by itself: it halts with exit code 4, names the command, and that command mends it."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, events, ingestd, write_config
from tests.fault.daemon import wait_for
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e


class Place:
    """A topic of two partitions that was read to its end once, and its admin."""

    def __init__(self, kafka: KafkaServer, name: str, database: str, file: Path, produce: Produce):
        self.name = name
        self.file = file
        self.admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        self.database = database
        self.produce = produce

    def query(self, text: str) -> list[Any]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []

    def expect_halt(self, *words: str) -> None:
        """Exit code 4; the reason has these words and the way out, and only partition 0 halted."""
        code, daemon = catch_up(self.file)
        halted = daemon.events("partition halted")
        assert code == 4, daemon.log()
        assert [one["partition"] for one in halted] == [0], daemon.log()
        for word in (*words, f"{self.name}-0", "ingestd offsets reset --partition 0 --to earliest"):
            assert word in halted[0]["reason"]
        assert self.query("SELECT max(id) FROM events") == [(199,)], "the other partition must go on"

    def decide(self) -> None:
        """What the message said; then it goes on."""
        plan = ingestd("offsets", "reset", "--config", self.file, "--partition", "0", "--to", "earliest")
        assert plan.returncode == 0, plan.stderr
        assert "nothing was changed" in plan.stdout
        done = ingestd("offsets", "reset", "--config", self.file, "--partition", "0", "--to", "earliest", "--yes")
        assert done.returncode == 0, done.stderr
        code, daemon = catch_up(self.file)
        assert code == 0, daemon.log()


@pytest.fixture
def place(kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path) -> Place:
    name = topic(2)
    produce(name, events(100), partition=0)
    produce(name, events(10, first=100), partition=1)
    file = write_config(tmp_path, kafka.bootstrap_servers, database, name)
    code, daemon = catch_up(file)
    assert code == 0, daemon.log()
    return Place(kafka, name, database, file, produce)


def grow(place: Place, first: int) -> None:
    place.produce(place.name, events(50, first), partition=0)
    place.produce(place.name, events(1, first=199), partition=1)


def test_retention_that_took_unread_records_halts_until_decided(place: Place) -> None:
    grow(place, first=110)
    place.admin.delete_records([TopicPartition(place.name, 0, 130)])[TopicPartition(place.name, 0)].result(20)

    place.expect_halt("retention removed 30 unread offsets")
    place.decide()

    assert place.query("SELECT count(*) FROM events WHERE id BETWEEN 110 AND 159") == [(20,)]


def test_reset_without_a_ledger_does_not_pretend_to_have_a_plan(
    kafka: KafkaServer, topic: MakeTopic, database: str, tmp_path: Path
) -> None:
    file = write_config(tmp_path, kafka.bootstrap_servers, database, topic())
    done = ingestd("offsets", "reset", "--config", file, "--to", "earliest", "--yes")
    assert (done.returncode, done.stdout) == (3, "")
    assert "the ledger has no cursor; run it once first" in done.stderr


def test_topic_created_again_halts_until_decided(place: Place) -> None:
    def gone() -> bool:
        return place.name not in place.admin.list_topics(timeout=10).topics

    place.admin.delete_topics([place.name])[place.name].result(20)
    wait_for(gone, "the end of the topic")
    place.admin.create_topics([NewTopic(place.name, 2, 1)])[place.name].result(20)
    place.produce(place.name, events(120, first=400), partition=0)
    code, daemon = catch_up(place.file)
    assert code == 4, daemon.log()
    assert all("deleted and created again" in one["reason"] for one in daemon.events("partition halted"))
    done = ingestd("offsets", "reset", "--config", place.file, "--to", "earliest", "--yes")
    assert done.returncode == 0, done.stderr
    code, daemon = catch_up(place.file)
    assert code == 0, daemon.log()
    assert place.query("SELECT count(*) FROM events WHERE id >= 400") == [(120,)]


def test_cursor_beyond_the_end_halts_until_decided(place: Place) -> None:
    """As after a broker that lost the tail of its log."""
    grow(place, first=110)
    place.query("UPDATE ingestd.cursors SET next_offset = 5000 WHERE partition = 0")
    place.expect_halt("5000", "beyond the log end 150")
    place.decide()
    assert place.query("SELECT count(*) FROM events") == [(161,)]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("dead_letters = { max_ratio = 0.05, max_run = 1000 }", "max_ratio = 0.05"),
        ("dead_letters = { max_ratio = 1.0, max_run = 20 }", "max_run = 20"),
    ],
)
def test_too_many_dead_letters_halt_before_the_batch(
    place: Place, kafka: KafkaServer, limits: str, said: str, tmp_path: Path
) -> None:
    """A bad deploy must not drain a topic; a larger limit lets it through."""
    place.produce(place.name, ['{"id": "not a number"}'] * 150, partition=0)
    write_config(tmp_path, kafka.bootstrap_servers, place.database, place.name, limits)
    code, daemon = catch_up(place.file)
    assert code == 4, daemon.log()
    assert said in daemon.events("partition halted")[0]["reason"]
    assert place.query("SELECT count(*) FROM ingestd.dead_letters") == [(0,)]
    assert place.query("SELECT next_offset FROM ingestd.cursors WHERE partition = 0") == [(100,)]
    limits = "dead_letters = { max_ratio = 1.0, max_run = 1000 }"
    write_config(tmp_path, kafka.bootstrap_servers, place.database, place.name, limits)
    assert catch_up(place.file)[0] == 0
    assert place.query("SELECT count(*) FROM ingestd.dead_letters") == [(150,)]
