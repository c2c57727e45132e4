"""The daemon as its operator meets it: signals, logs, the page, the end of all its processes."""

import os
import signal
import time
from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from ingestd.embedded.postgres import PostgresServer
from ingestd.supervisor.loop import SAME_ORDER_SECS
from tests.e2e.running import catch_up, events, ingestd, run_daemon, write_config
from tests.fault.daemon import Daemon, wait_for
from tests.fault.flow import status_of
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

SLOW = """
CREATE TABLE events (id bigint PRIMARY KEY, note text);
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep({secs}); RETURN NULL; END';
CREATE TRIGGER slow AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE 'ingestd%'"


def one(database: str, query: str) -> object:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row[0] if row else None


def slow_table(database: str, secs: float) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SLOW.format(secs=secs).encode())


@pytest.fixture
def file(kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path) -> Path:
    """A configuration whose topic, of two partitions, holds 2,000 good records."""
    name = topic(2)
    produce(name, events(1000), partition=0)
    produce(name, events(1000, first=1000), partition=1)
    return write_config(tmp_path, kafka.bootstrap_servers, database, name, status=True)


def in_batch(file: Path, database: str) -> Daemon:
    """A daemon in the middle of a batch's transaction."""
    daemon = run_daemon(file)
    wait_for(lambda: one(database, SLEEPING) == 2, "two batches under way", 30, daemon.log)
    return daemon


def test_until_caught_up_ends_with_0_when_all_is_read(file: Path, database: str) -> None:
    code, daemon = catch_up(file)
    assert code == 0, daemon.log()
    assert one(database, "SELECT count(*) FROM events") == 2000
    assert catch_up(file)[0] == 0, "nothing to do is caught up, too"


def test_term_finishes_the_batch(file: Path, database: str) -> None:
    slow_table(database, secs=1.5)
    daemon = in_batch(file, database)
    assert daemon.end() == 0, daemon.log()
    assert one(database, "SELECT count(*) FROM events") == 2000


def test_second_term_aborts_and_nothing_of_the_batch_is_visible(file: Path, database: str) -> None:
    slow_table(database, secs=6)
    daemon = in_batch(file, database)
    daemon.signal(signal.SIGTERM)
    daemon.wait(lambda: daemon.events("stopping"), "the first TERM to be heard")
    first_at = time.monotonic()
    daemon.wait(lambda: time.monotonic() - first_at > SAME_ORDER_SECS + 0.1, "the time after which it is a second one")
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 6
    assert one(database, "SELECT count(*) FROM events") == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE events DISABLE TRIGGER slow")
    assert catch_up(file)[0] == 0
    assert one(database, "SELECT count(*) FROM events") == 2000


def test_killed_daemon_leaves_no_process(file: Path, database: str) -> None:
    daemon = run_daemon(file)
    daemon.wait(lambda: one(database, "SELECT to_regclass('events') IS NOT NULL"), "the table")
    daemon.wait(lambda: daemon.pids("ingestd-status") and daemon.workers(), "all kinds of children")
    assert len(daemon.pids()) >= 5
    os.kill(daemon.pid, signal.SIGKILL)
    wait_for(lambda: not daemon.pids(), "the end of all processes", 5)
    daemon.process.wait()


def test_log_and_command_lines_have_no_payload_and_no_secret(
    file: Path, database: str, produce: Produce, postgres: PostgresServer
) -> None:
    """At level debug, with records that every stage refuses, and a database that goes away."""
    slow_table(database, secs=0)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE events ADD CHECK (note <> 'PAYLOAD-check')")
        connection.execute("CREATE ROLE app_e2e LOGIN PASSWORD 'SECRET-word'")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO app_e2e")
        connection.execute(f"GRANT ALL ON DATABASE {connection.info.dbname} TO app_e2e")
    text = file.read_text()
    topic = text.split('topic = "')[1].split('"')[0]
    file.write_text(text.replace("postgresql://postgres@", "postgresql://app_e2e:SECRET-word@"))
    bad = [
        '{"id": "PAYLOAD-decode"}',
        "PAYLOAD-json",
        '{"id": 5000, "note": "PAYLOAD-check"}',
        '{"id": 1, "note": "x"}',
    ]
    produce(topic, bad, partition=0, key="PAYLOAD-key", headers=[("h", b"PAYLOAD-header")])
    daemon = run_daemon(file, "--log-level", "debug")
    daemon.wait(lambda: [p["lag_records"] for p in partitions(daemon)] == [0, 0], "the end")
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in daemon.pids()]
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("ALTER ROLE app_e2e PASSWORD 'another'")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app_e2e'")
    produce(topic, events(1, first=9000), partition=0)
    daemon.wait(lambda: daemon.events("partition halted"), "the refused login")
    assert one(database, "SELECT count(*) FROM ingestd.dead_letters") == 3
    assert daemon.end() == 0
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP OWNED BY app_e2e CASCADE")
        connection.execute("DROP ROLE app_e2e")
    assert "PAYLOAD" not in daemon.log()
    assert "SECRET" not in daemon.log()
    assert not any(b"SECRET" in line for line in lines)


def partitions(daemon: Daemon) -> list[dict[str, object]]:
    return list(status_of(daemon)["pipelines"][0]["partitions"])


def test_bad_configuration_names_every_problem_and_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ingestd.toml"
    text = write_config(tmp_path, "127.0.0.1:1", "postgresql://x:SECRET-word@127.0.0.1:1/x", "t").read_text()
    file.write_text(text.replace('"int8"', '"int9"').replace('["id"]', '["idd"]').replace("max_rows", "max_row"))
    done = ingestd("run", "--config", file)
    problems = done.stderr.splitlines()
    assert done.returncode == 2
    assert all(line.startswith("ingestd: error: ") for line in problems)
    for word in ("int9", "idd", "max_row"):
        assert any(word in line for line in problems), problems
    assert "SECRET" not in done.stderr


def test_check_says_yes_or_what_is_wrong(file: Path, tmp_path: Path, database: str) -> None:
    good = ingestd("check", "--config", file)
    assert good.returncode == 0, good.stdout
    file.write_text(file.read_text().replace(database, "postgresql://postgres@127.0.0.1:1/nothing"))
    bad = ingestd("check", "--config", file)
    assert bad.returncode == 3
    assert all(words in bad.stdout for words in ("database host: connection refused", "port 1 failed"))
    assert "Traceback" not in bad.stdout + bad.stderr
