"""The lake half of the examples, from their own files: once each in table and lake, whatever is sent or killed."""

import json
import os
import re
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, ingestd, run_daemon
from tests.e2e.test_examples import example, fetch, variables
from tests.e2e.test_record_examples import EVENTS, EXPECTED, crm_event, rewind
from tests.fault.daemon import Daemon
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

TOPIC = "crm.events.raw"
TYPES = ("account_created", "account_updated", "contact_added")
DAYS = ("2026-01-21T18:55:00Z", "2026-01-22T00:00:00+02:00", "2026-02-28T23:59:59.999999Z")
DIRECTORIES = {
    f"event_type={kind}/year=2026/month={month}/day={day}"
    for kind in TYPES
    for month, day in (("01", "21"), ("02", "28"))
}
INVALID = [
    crm_event("not a uuid"),
    crm_event(str(uuid.UUID(int=1)), event_type="Not A Type"),
    crm_event(str(uuid.UUID(int=2)), payload={}),
    "{",
]


def business_events(count: int) -> list[str]:
    """Different ones, of three types and at three moments on two days."""
    return [
        crm_event(str(uuid.UUID(int=10 + n)), event_type=TYPES[n % 3], timestamp=DAYS[n // 3 % 3]) for n in range(count)
    ]


class Crm:
    """The example crm with its servers and files, as a test sees it."""

    def __init__(self, kafka: KafkaServer, database: str, directory: Path):
        self.file = example("crm", directory)
        self.lake, self.dead_letters = directory / "lake", directory / "dead"
        self.database = database
        self.environment = variables(kafka, database) | {
            "CRM_LAKE": str(self.lake),
            "CRM_DEAD_LETTERS": str(self.dead_letters),
        }

    def catch_up(self) -> None:
        code, daemon = catch_up(self.file, self.environment)
        assert code == 0, daemon.log()

    @contextmanager
    def running(self) -> Iterator[Daemon]:
        daemon = run_daemon(self.file, environment=self.environment)
        try:
            yield daemon
        finally:
            daemon.destroy()

    def command(self, *words: str) -> str:
        """What it prints; it must not fail."""
        done = ingestd(*words, "--config", self.file, env=os.environ | self.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout)

    def table(self) -> list[Any]:
        """Everything that is in the table and the gate."""
        return [
            fetch(self.database, f"SELECT * FROM {name} ORDER BY event_id") for name in ("events", "processed_events")
        ]

    def asked(self, query: str) -> Any:
        """One value of the store; None while there are no tables."""
        (found,) = fetch(self.database, "SELECT to_regclass('ingestd.lake_files')")[0]
        return found and fetch(self.database, query)[0][0]

    def rows(self) -> list[Any]:
        """What a plain glob finds, as anybody would count it."""
        query = f"SELECT event_id, event_type, account_id FROM read_parquet('{self.lake}/**/*.parquet')"
        return sorted(duckdb.sql(query).fetchall())

    def check_lake(self, ids: list[str]) -> None:
        """These events, once each, by the glob and by the manifest; nothing half done, every offset accounted for."""
        assert [row[0] for row in self.rows()] == sorted(ids)
        assert self.asked("SELECT sum(rows) FROM ingestd.lake_files WHERE state = 'settled'") == len(ids)
        assert self.asked("SELECT count(*) FROM ingestd.lake_files WHERE state = 'committed'") == 0
        assert list(self.lake.glob("_staging/**/*.staged")) == []
        self.command("verify")


@pytest.fixture
def crm(kafka: KafkaServer, topic: MakeTopic, database: str, tmp_path: Path) -> Crm:
    topic(3, name=TOPIC)
    return Crm(kafka, database, tmp_path)


def send(produce: Produce, events: list[str]) -> None:
    """Each event twice, in two of the three partitions, and what is invalid in one."""
    for number in range(3):
        mine = [event for n, event in enumerate(events) if n % 3 != number]
        produce(TOPIC, [*mine[:50], *(INVALID if number == 0 else []), *mine[50:]], partition=number)


def test_crm_adds_no_row_and_no_lake_row_when_the_same_events_are_sent_again(crm: Crm, produce: Produce) -> None:
    events = business_events(900)
    ids = [json.loads(event)["event_id"] for event in events]
    send(produce, events)
    crm.catch_up()
    table, rows, files = crm.table(), crm.rows(), sorted(crm.lake.rglob("*.parquet"))
    assert [str(row[0]) for row in table[0]] == sorted(ids)
    crm.check_lake(ids)
    assert {str(file.parent.relative_to(crm.lake)) for file in files} == DIRECTORIES
    counts = crm.command("query", "--lake", "--format", "csv", "--sql", "SELECT count(*) AS n FROM lake WHERE day = 21")
    assert counts.split() == ["n", "600"]

    # The daemon was stopped; it is started, and everything comes again.
    with crm.running() as daemon:
        send(produce, events)
        again = 2 * (2 * len(events) + len(INVALID))
        done = "SELECT sum(next_offset) FROM ingestd.cursors WHERE sink_group = 'table'"
        daemon.wait(lambda: crm.asked(done) == again, "the same events again")
        daemon.wait(lambda: list(crm.dead_letters.glob("*.parquet")), "dead letters as Parquet")
        assert daemon.end() == 0, daemon.log()
    assert crm.table() == table
    assert crm.rows() == rows
    crm.check_lake(ids)
    letters = f"SELECT count(DISTINCT payload) FROM '{crm.dead_letters}/*.parquet'"
    assert duckdb.sql(letters).fetchall() == [(len(INVALID),)]
    assert crm.asked("SELECT count(*) FROM ingestd.dead_letters") == 2 * len(INVALID)


def test_crm_killed_again_and_again_neither_loses_nor_doubles_an_event_in_table_or_lake(
    crm: Crm, produce: Produce
) -> None:
    # Small batches and rolls by the blink of an eye, or a kill would meet nothing half done.
    settings = crm.file.read_text()
    assert 'max_age = "60s"' in settings
    rolling = settings.replace('max_age = "60s"', 'max_age = "100ms"')
    crm.file.write_text(rolling.replace('format = "json"', 'format = "json"\nbatch = { max_rows = 200 }'))
    events = business_events(12_000)
    ids = [json.loads(event)["event_id"] for event in events]
    send(produce, events)
    kept = "SELECT coalesce(sum(rows), 0) FROM ingestd.lake_files WHERE state <> 'replaced'"
    reached = 0
    for _ in range(2):
        with crm.running() as daemon:
            daemon.wait(lambda before=reached: (crm.asked(kept) or 0) > before, "another roll")  # type: ignore[misc]
            daemon.signal(signal.SIGKILL, whole=True)
            daemon.wait(lambda: not daemon.pids(), "the death of all its processes")
        reached = int(crm.asked(kept))
    assert 0 < reached < len(ids), "killed in the middle"
    send(produce, events[:100])
    crm.catch_up()
    assert [str(row[0]) for row in crm.table()[0]] == sorted(ids)
    crm.check_lake(ids)


def test_prescribers_readme_gives_silver_as_parquet_equal_to_the_table_also_after_a_replay(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, tmp_path: Path
) -> None:
    topic(1, name="prescriber_events")
    produce("prescriber_events", EVENTS)
    file = example("prescribers", tmp_path)
    readme = (file.parent / "README.md").read_text()
    (section,) = re.findall(r"```toml\n(\[pipeline\.lake\].*?)```", readme, re.DOTALL)
    (query,) = re.findall(r"```sql\n(SELECT .*?)```", readme, re.DOTALL)
    file.write_text(file.read_text() + section.replace("lake/", f"{tmp_path}/lake/"))
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PRESCRIBERS_STORE": f"sqlite:///{tmp_path}/silver.db",
    }
    for _ in range(2):
        code, daemon = catch_up(file, environment)
        assert code == 0, daemon.log()
        words = ("query", "--config", file, "--lake", "--format", "json", "--sql", query)
        answer = ingestd(*words, env=os.environ | environment)
        assert answer.returncode == 0, answer.stderr
        silver = [tuple(row.values()) for row in json.loads(answer.stdout) if row["npi"] != "equal"]
        assert silver == [row for row in EXPECTED if row[0] != "equal"]
        history = duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/lake/prescribers/**/*.parquet'").fetchall()
        assert history == [(len(EVENTS) - 2,)], "two of the events are invalid"
        rewind(file, environment)
