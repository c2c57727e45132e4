"""The examples prescribers and crm as they are: what their users rely on, and that a replay changes nothing."""

import json
import os
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, ingestd
from tests.e2e.test_examples import example, fetch, variables
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

AT = 1_769_021_700  # 2026-01-21T18:55:00Z
SILVER = "SELECT npi, last_event_type, source, last_ts, updated_at_utc FROM prescribers_silver ORDER BY npi"


def event(npi: str, ts: Any, event_type: str = "upsert", source: str = "cms_partd") -> str:
    return json.dumps({"event_type": event_type, "npi": npi, "source": source, "ts": ts})


EVENTS = [
    *(
        event(f"form-{n}", ts)
        for n, ts in enumerate([AT, AT + 0.25, "2026-01-21T18:55:00Z", "2026-01-21T20:55:00.25+02:00", str(AT)])
    ),
    event("late", AT + 60, source="newer"),
    event("late", AT, source="older"),
    event("equal", AT, source="first"),
    event("equal", "2026-01-21T18:55:00Z", source="second"),
    event("gone", AT),
    event("gone", AT + 1, "delete"),
    event("back", AT + 1, "delete"),
    event("back", AT, source="too late"),
    event("not a time", "yesterday"),
    event("no such event", AT, "insert"),
]
EXPECTED = [
    ("back", "delete", "cms_partd", AT + 1.0),
    ("equal", "upsert", "second", float(AT)),
    ("form-0", "upsert", "cms_partd", float(AT)),
    ("form-1", "upsert", "cms_partd", AT + 0.25),
    ("form-2", "upsert", "cms_partd", float(AT)),
    ("form-3", "upsert", "cms_partd", AT + 0.25),
    ("form-4", "upsert", "cms_partd", float(AT)),
    ("gone", "delete", "cms_partd", AT + 1.0),
    ("late", "upsert", "newer", AT + 60.0),
]


def rewind(file: Path, environment: dict[str, str]) -> None:
    reset = ingestd(
        "offsets", "reset", "--config", file, "--to", "earliest", "--yes", env={**os.environ, **environment}
    )
    assert reset.returncode == 0, reset.stderr


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_prescribers_hold_the_latest_event_in_either_store_and_a_replay_changes_nothing(
    store: str, kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    topic(1, name="prescriber_events")
    produce("prescriber_events", EVENTS)
    url = database if store == "postgresql" else f"sqlite:///{tmp_path}/silver.db"
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "PRESCRIBERS_STORE": url}
    file = example("prescribers", tmp_path)
    if store == "sqlite":
        # Batches of one: what a fold would settle within a batch meets the stored row instead.
        file.write_text(file.read_text().replace('format = "json"', 'format = "json"\nbatch = { max_rows = 1 }'))

    def silver() -> list[Any]:
        if store == "postgresql":
            return fetch(database, SILVER)
        with sqlite3.connect(tmp_path / "silver.db") as connection:
            return connection.execute(SILVER).fetchall()

    code, daemon = catch_up(file, environment)
    assert code == 0, daemon.log()
    first = silver()
    assert [row[:4] for row in first] == EXPECTED
    assert all(row[4].endswith("Z") and row[4][10] == "T" for row in first)

    answer = ingestd("query", "--config", file, env={**os.environ, **environment})
    lines = answer.stdout.splitlines()
    assert lines[0].split() == ["NPI", "event", "source", "last_ts_utc", "updated_at_utc"]
    assert "2026-01-21 18:55:01Z" in next(line for line in lines if line.startswith("gone"))

    rewind(file, environment)
    code, daemon = catch_up(file, environment)
    assert code == 0, daemon.log()
    assert silver() == first
    verified = ingestd("verify", "--config", file, env={**os.environ, **environment})
    assert verified.returncode == 0, verified.stdout + verified.stderr


def crm_event(event_id: str, **changed: Any) -> str:
    payload = {"account_id": "acc-1", "industry": "finance", "region": "emea"}
    whole = {
        "event_id": event_id,
        "event_type": "account_created",
        "source": "salesforce",
        "timestamp": "2026-01-21T18:55:00Z",
        "payload": payload,
    }
    return json.dumps(whole | changed)


def test_crm_events_are_written_once_each_and_a_replay_adds_none(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    topic(3, name="crm.events.raw")
    ids = [str(uuid.uuid4()) for _ in range(300)]
    events = [crm_event(one) for one in ids]
    for partition in range(3):
        # The same events in every partition: the gate is one for all workers.
        produce("crm.events.raw", events, partition=partition)
    refused = str(uuid.uuid4())
    produce(
        "crm.events.raw", [crm_event(refused, event_type="Not A Type"), crm_event(refused, payload={})], partition=0
    )
    files = {"CRM_LAKE": f"{tmp_path}/lake", "CRM_DEAD_LETTERS": f"{tmp_path}/dead"}
    environment = variables(kafka, database) | files
    file = example("crm", tmp_path)

    def everything() -> list[Any]:
        return [fetch(database, f"SELECT * FROM {table} ORDER BY event_id") for table in ("events", "processed_events")]

    code, daemon = catch_up(file, environment)
    assert code == 0, daemon.log()
    events_rows, seen = first = everything()
    assert sorted(str(row[0]) for row in events_rows) == sorted(ids)
    assert {row[4:] for row in events_rows} == {("acc-1", "finance", "emea")}
    assert sorted(str(row[0]) for row in seen) == sorted(ids)
    columns = fetch(database, 'SELECT column_name FROM ingestd.dead_letters ORDER BY "offset"')
    assert columns == [("event_type",), ("account_id",)]

    rewind(file, environment)
    produce("crm.events.raw", events[:50])
    code, daemon = catch_up(file, environment)
    assert code == 0, daemon.log()
    assert everything() == first
    verified = ingestd("verify", "--config", file, env={**os.environ, **environment})
    assert verified.returncode == 0, verified.stdout + verified.stderr
