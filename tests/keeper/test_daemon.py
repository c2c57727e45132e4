"""The daemon passes dead letters on while it runs, and a redrive beside it disturbs nothing."""

from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import events, ingestd, run_daemon, write_config
from tests.fix_servers import MakeTopic, Produce
from tests.keeper.test_forward import messages
from tests.sinks.contracts import ask

pytestmark = pytest.mark.e2e


def test_refused_records_reach_the_topic_and_are_redriven_while_the_daemon_runs(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    name, dead = topic(), topic()
    produce(name, [*events(100), '{"id": "x100", "note": "mended"}', *events(100, first=101)])
    limits = f'dead_letters = {{ topic = "{dead}", max_ratio = 1.0 }}'
    file = write_config(tmp_path, kafka.bootstrap_servers, database, name, limits)
    daemon = run_daemon(file)
    try:
        (message,) = messages(kafka, dead, 1)
        assert message.value() == b'{"id": "x100", "note": "mended"}'
        done = ingestd("dead-letters", "redrive", "--config", file, "--fix", 'id=int(replace(id, "x", ""))')
        assert (done.returncode, done.stdout) == (0, "of 1 dead letters 1 left: 1 inserted\n"), done.stderr
        produce(name, events(10, first=201))
        daemon.wait(lambda: count(database) == 211, "the records after the redrive")
        assert daemon.end() == 0, daemon.log()
    finally:
        daemon.destroy()
    done = ingestd("verify", "--config", file)
    assert done.returncode == 0, done.stdout + done.stderr


def count(database: str) -> int:
    """Rows of the table, 0 while it is not there."""
    try:
        return int(ask(database, "SELECT count(*) FROM events")[0][0])
    except psycopg.errors.UndefinedTable:
        return 0
