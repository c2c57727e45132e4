"""Hostile records the whole way: from a topic through the daemon into tables, and onto a terminal."""

import json
import os
from pathlib import Path

import psycopg
import pytest

from ingestd.embedded.kafka import KafkaServer
from tests.e2e.running import catch_up, ingestd
from tests.fix_servers import MakeTopic, Produce

pytestmark = pytest.mark.e2e

CONFIG = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "{topic}"
[store]
url = "{url}"
[status]
enabled = false
[[pipeline]]
name = "events"
topic = "{topic}"
on_bad = "strip"
dead_letters = {{ max_ratio = 1.0 }}
column = [
  {{ name = "id", type = "text", required = true, max_length = 60 }},
  {{ name = "n", type = "int4", on_bad = "null" }},
  {{ name = "tree", type = "jsonb", on_bad = "replace" }},
  {{ name = "k", type = "text", source = "key" }},
  {{ name = "h", type = "jsonb", source = "headers" }},
]
[pipeline.table]
name = "events"
mode = "insert"
key = ["id"]
create = true
"""
PAYLOADS = [
    "'; DROP TABLE events; --",
    "../../../etc/passwd",
    "year=2026/../../x",
    "<script>alert(1)</script>",
    "$(touch pwned) `touch pwned`",
    "\x1b[2J\x1b]0;owned\x07",
]


def test_hostile_records_keys_and_headers_reach_rows_or_dead_letters_and_nothing_else(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    name = topic(1)
    file = tmp_path / "ingestd.toml"
    file.write_text(CONFIG.format(bootstrap=kafka.bootstrap_servers, url=database, topic=name))
    for payload in PAYLOADS:
        row = json.dumps({"id": payload, payload: 1, "tree": {payload: payload}})
        produce(name, [row], key=payload, headers=[("trace", payload.encode()), (payload, b"\xff")])
        produce(name, [json.dumps({"id": payload * 20, payload: 1}), None, b""], key=payload)
    produce(name, [rb'{"id":"nul\u0000","n":99999999999,"tree":["\u0000"]}', b"[" * 100_000, b'{"id":"\xffutf"}'])
    produce(name, [b'{"id":"twice","id":"last"}', b'{"id":"x","tree":"%b"}' % (b"y" * 900_000), b'{"id":"end"}'])
    code, daemon = catch_up(file)
    assert code == 0, daemon.log()
    with psycopg.connect(database, autocommit=True) as connection:
        rows = {row[0]: row[1:] for row in connection.execute("SELECT id, n, tree, k, h FROM events")}
        dead = connection.execute('SELECT reason FROM ingestd.dead_letters ORDER BY "offset"').fetchall()
    assert rows.keys() == {*PAYLOADS, "nul", "utf", "last", "x", "end"}
    assert rows["nul"][:2] == (None, ["\ufffd"])
    for payload in PAYLOADS:
        assert rows[payload][1:3] == ({payload: payload}, payload)
        assert rows[payload][3] == {"trace": payload, payload: {"base64": "/w=="}}
    assert sorted(reason for (reason,) in dead) == sorted(
        ["longer than 60 characters", "no value (a tombstone)", "empty value"] * len(PAYLOADS)
        + ["expected object, got array"]
    )
    shown = ingestd("dead-letters", "list", "--config", file, cwd=tmp_path)
    assert shown.returncode == 0 and "\x1b" not in shown.stdout and "\x07" not in shown.stdout
    assert "\x1b" not in daemon.log()
    assert sorted(os.listdir(tmp_path)) == sorted({"ingestd.toml", daemon.log_path.name})
