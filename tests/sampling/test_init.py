"""`ingestd init`: a file that loads whatever the fields are called, and columns that take the very records it saw."""

import json
import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from ingestd.cli import main
from ingestd.config.file import load
from ingestd.config.options import Pipeline
from ingestd.embedded.kafka import KafkaServer
from ingestd.errors import ConfigError
from ingestd.sampling.draft import as_toml, draft_of
from ingestd.sampling.read import Sample
from tests.e2e.running import catch_up
from tests.fix_servers import MakeTopic, Produce
from tests.sinks.contracts import ask, records_of


def _drafted(values: list[Any], tmp_path: Path) -> tuple[Pipeline, str]:
    """The pipeline as it loads, and the file's text."""
    records = records_of([json.dumps(v).encode() if isinstance(v, dict) else v for v in values])
    text = as_toml(draft_of("p", "shop.orders", "localhost:9092", "embedded", [Sample(0, 0, 9, 0, 9, list(records))]))
    file = tmp_path / "drafted.toml"
    file.write_text(text)
    return load(file).pipeline[0], text


def _types(pipeline: Pipeline) -> dict[str, str]:
    return {column.name: column.type for column in pipeline.column}


def test_types_are_what_every_value_of_the_sample_fits(tmp_path: Path) -> None:
    values = [
        {
            "id": f"0b2c1d3e-0000-4000-8000-00000000000{n}",
            "count": n,
            "amount": 12.5 if n else 3,
            "ratio": 0.123456789,
            "ok": True,
            "at": "2026-01-02T03:04:05.5+02:00",
            "naive": "2026-01-02 03:04:05",
            "day": "2026-01-02",
            "ts": 1769021700.25,
            "created": 1769021700123,
            "tags": ["a"],
            "who": {"name": "x", "zip": "00123"},
            "mixed": n if n else "text",
            "nothing": None,
            "huge": 10**20,
        }
        for n in range(3)
    ]
    pipeline, _ = _drafted(values, tmp_path)
    assert _types(pipeline) == {
        "id": "uuid", "count": "int8", "amount": "numeric(18,1)", "ratio": "float8", "ok": "bool", "at": "timestamptz",
        "naive": "timestamp", "day": "date", "ts": "timestamptz", "created": "timestamptz", "tags": "jsonb",
        "who_name": "text", "who_zip": "text", "mixed": "jsonb", "nothing": "text", "huge": "numeric(38,0)",
    }  # fmt: skip
    columns = {column.name: column for column in pipeline.column}
    assert (columns["ts"].epoch, columns["created"].epoch) == ("s", "ms")
    assert columns["who_zip"].path == "who.zip"
    assert (pipeline.table.mode, pipeline.table.key) == ("insert", ("id",))


def test_required_is_only_what_was_always_there_and_never_null(tmp_path: Path) -> None:
    pipeline, text = _drafted([{"a": 1, "b": 1, "in": {"x": 1}}, {"a": 2, "b": None}], tmp_path)
    assert {column.name: column.required for column in pipeline.column} == {"a": True, "b": False, "in_x": False}
    assert "in 2 of 2, 1 null" in text
    assert pipeline.table.mode == "append", "unique, but no name says that it is a key"


HOSTILE = [
    'q"uote', "back\\slash", "new\nline", "esc\x1b[2J", "a.dot", "", "${HOME}", "$x", "]] #",
    "Robert'); DROP TABLE t;--", "select", "ünï", "\u202eright", "camelCase", "camel_case",
    "0digit", "x" * 100, "\x7f", "na\ud800me", "' = 1 }",
]  # fmt: skip


def test_hostile_field_names_are_quoted_or_left_out_with_a_comment(tmp_path: Path) -> None:
    record = json.dumps({name: n for n, name in enumerate(HOSTILE)}).encode()
    pipeline, text = _drafted([record] * 2, tmp_path)
    paths = {column.path or column.name for column in pipeline.column}
    left_out = {
        json.loads(line[len("# left out: ") : line.rindex(": ")])
        for line in text.splitlines()
        if line.startswith("# left out: ")
    }
    assert paths | left_out == set(HOSTILE)
    assert {"a.dot", "", 'q"uote'} <= left_out
    assert {"${HOME}", "$x", "Robert'); DROP TABLE t;--", "ünï", "x" * 100, "]] #"} <= paths
    assert all(column.name.isidentifier() and len(column.name) < 64 for column in pipeline.column)
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    tomllib.loads(text)


def test_map_with_ids_as_names_is_one_column(tmp_path: Path) -> None:
    pipeline, _ = _drafted([{"prices": {f"sku{n}-{m}": n for m in range(20)}} for n in range(5)], tmp_path)
    assert _types(pipeline) == {"prices": "jsonb"}


def test_value_that_the_guess_does_not_take_widens_the_column(tmp_path: Path) -> None:
    """What looks like a date and is none."""
    pipeline, text = _drafted([{"day": "2026-01-02"}, {"day": "2026-02-31"}], tmp_path)
    assert _types(pipeline) == {"day": "text"}
    assert "other types did not fit" in text


def test_records_that_are_no_objects_are_told_and_do_not_spoil_the_draft(tmp_path: Path) -> None:
    pipeline, text = _drafted([{"a": 1}, b"\xff\xfe", b"[1]", b"{", None, b"1" * 5000, b"[" * 100_000], tmp_path)
    assert _types(pipeline) == {"a": "int8"}
    assert "5 records are no JSON object" in text
    with pytest.raises(ConfigError):
        _drafted([b"[1]"], tmp_path)


def test_existing_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("mine")
    assert main(["init", "--topic", "t", "--bootstrap-servers", "127.0.0.1:1", "--output", str(file)]) == 2
    assert file.read_text() == "mine"


@pytest.mark.e2e
def test_topic_is_ingested_by_the_configuration_made_from_it(
    kafka: KafkaServer, topic: MakeTopic, produce: Produce, database: str, tmp_path: Path
) -> None:
    name = topic(2)
    values = [
        {"event_id": str(UUID(int=n)), "payload": {"user Name": f"n{n}", "amount": n + 0.25}, "ts": 1769021700 + n}
        for n in range(50)
    ]
    for partition in (0, 1):
        produce(name, [json.dumps(value) for value in values[partition::2]], partition=partition)
    file = tmp_path / "made.toml"
    words = ["init", "--topic", name, "--bootstrap-servers", kafka.bootstrap_servers, "--output", str(file)]
    assert main([*words, "--store", database]) == 0
    code, daemon = catch_up(file)
    assert code == 0, daemon.log()
    table = name.replace("-", "_")
    query = f"SELECT event_id, payload_user_name, payload_amount, extract(epoch FROM ts)::int FROM {table} ORDER BY 1"
    assert [(str(i), who, float(amount), ts) for i, who, amount, ts in ask(database, query)] == [
        (v["event_id"], v["payload"]["user Name"], v["payload"]["amount"], v["ts"])  # type: ignore[index]
        for v in values
    ]
