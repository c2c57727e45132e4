"""Contradictions of `[pipeline.dedupe]`, each named with its place and what would be right."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.errors import ConfigError

_HEAD = '[kafka]\nbootstrap_servers = "localhost:9092"\ngroup_id = "g"\n[store]\nurl = "postgresql://u@h/db"\n'
_ID = '{ name = "id", type = "text", required = true }'
_EVENT = '{ name = "event", type = "uuid", required = true }'


def _pipeline(
    dedupe: str = 'table = "seen", key = "event"',
    columns: str = f"{_ID}, {_EVENT}",
    table: str = 'name = "orders", mode = "insert", key = ["id"]',
    name: str = "p",
    more: str = "",
) -> str:
    return (
        f'[[pipeline]]\nname = "{name}"\ntopic = "t"\ncolumn = [{columns}]\ntable = {{ {table} }}\n'
        f"dedupe = {{ {dedupe} }}\n{more}"
    )


def _problems(tmp_path: Path, *pipelines: str) -> list[str]:
    (tmp_path / "c.toml").write_text(_HEAD + "".join(pipelines))
    try:
        load(tmp_path / "c.toml", {})
    except ConfigError as error:
        return list(error.problems)
    return []


def test_gate_of_a_pipeline_and_one_that_two_share_are_accepted(tmp_path: Path) -> None:
    several = _pipeline('table = "a.seen", key = ["id", "event"], create = true, retention = "30d"')
    shared = [_pipeline(name=name) for name in ("a", "b")]
    assert _problems(tmp_path, several) == _problems(tmp_path, *shared) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_pipeline('table = "seen", key = "who"'), 'dedupe.key: "who" is not a declared column; declared: id, event'),
        (_pipeline('table = "seen", key = []'), "dedupe.key: is empty"),
        (_pipeline('table = "seen", key = ["event", "event"]'), 'names "event" twice'),
        (_pipeline('table = "seen"'), "dedupe.key: is missing"),
        (_pipeline('key = "event"'), "dedupe.table: is missing"),
        (
            _pipeline(columns=f'{_ID}, {{ name = "event", type = "uuid" }}'),
            'column "event" may be null; write required',
        ),
        (
            _pipeline(columns=f'{_ID}, {{ name = "event", type = "jsonb", required = true }}'),
            'column "event" is jsonb, which is no key',
        ),
        (
            _pipeline(columns=f'{_ID}, {{ name = "event", type = "int4[]", required = true }}'),
            'column "event" is int4[], which is no key',
        ),
        (
            _pipeline('table = "s", key = "topic"', f'{_ID}, {{ name = "topic", type = "text", required = true }}'),
            '"topic" is a column that the gate fills itself',
        ),
        (
            _pipeline(columns=f'{_ID}, {{ name = "event", type = "int8", source = "offset", required = true }}'),
            'comes from "offset", which no repeat shares',
        ),
        (_pipeline('table = "orders", key = "event"'), 'dedupe.table: "orders" is the table of pipeline[0]'),
        (_pipeline('table = "public.orders", key = "event"'), '"public.orders" is the table of pipeline[0]'),
        (_pipeline('table = "ingestd.seen", key = "event"'), "is in the schema of the ledger"),
        (_pipeline('table = "a.b.c", key = "event"'), 'must be "table" or "schema.table"'),
        (_pipeline(f'table = "{"x" * 64}", key = "event"'), "longer than the 63 bytes"),
        (_pipeline('table = "seen", key = "event", retention = 0'), "dedupe.retention: must be a duration above zero"),
        (
            _pipeline('table = "seen", key = "id"', table='name = "orders", mode = "upsert", key = ["id"]'),
            "is in the key of the upsert: no row would ever be updated",
        ),
        (
            _pipeline(
                table='name = "o", mode = "upsert", key = ["id"], delete = { tombstone = true, how = "soft" }',
            ),
            "does not go with table.delete.tombstone",
        ),
        (
            _pipeline() + _pipeline('table = "public.seen", key = "id"', name="q"),
            "pipeline[1].dedupe.key: differs from that of pipeline[0]",
        ),
        (
            _pipeline() + _pipeline('table = "seen", key = "event", retention = "1h"', name="q"),
            "pipeline[1].dedupe.retention: differs from that of pipeline[0]",
        ),
        (
            _pipeline(
                more='version_field = "v"\n[[pipeline.contract]]\nversion = 2\n'
                'column = [{ name = "id", type = "text", required = true }, { name = "event", type = "uuid" }]\n'
            ),
            'column "event" may be null in contract[0]',
        ),
    ],
)
def test_contradiction_of_the_gate_names_place_and_remedy(tmp_path: Path, text: str, expected: str) -> None:
    found = _problems(tmp_path, text)
    assert any(expected in problem for problem in found), found
