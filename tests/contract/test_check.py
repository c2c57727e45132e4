"""Producers refuse before Kafka exactly what the consumer would refuse behind it."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.config.options import Pipeline
from ingestd.contract import Contract, InvalidRecord, Problem
from ingestd.decode.decoder import make_decoder
from ingestd.errors import ConfigError
from tests.decode.records import chunk_of

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "uuid", "required": True},
    {"name": "kind", "type": "text", "required": True, "enum": ["created", "closed"]},
    {"name": "account", "path": "payload.account", "type": "text", "pattern": "^A-[0-9]+$"},
    {"name": "amount", "type": "numeric(10,2)", "min": 0},
    {"name": "ratio", "type": "float8"},
    {"name": "at", "type": "timestamptz"},
    {"name": "day", "type": "date", "min": "2026-01-01"},
    {"name": "tags", "type": "text[]", "max_length": 3},
    {"name": "more", "type": "jsonb"},
]
GOOD: dict[str, Any] = {"id": "5f2a3a9f-5875-4261-bd7b-00856616ea36", "kind": "created"}


def pipeline(**options: Any) -> Pipeline:
    tree = {"name": "p", "topic": "t", "column": COLUMNS, "table": {"name": "t"}, **options}
    return msgspec.convert(tree, Pipeline)


CONTRACT = Contract(pipeline())


def test_a_valid_record_has_no_problems() -> None:
    assert CONTRACT.check(GOOD) == []
    assert CONTRACT.check(msgspec.json.encode(GOOD)) == []


def test_every_field_that_is_wrong_is_named_with_its_rule() -> None:
    record = GOOD | {"kind": "opened", "payload": {"account": "B-1"}, "amount": -1, "tags": ["ok", "long"], "id": 7}
    assert CONTRACT.check(record) == [
        Problem("id", "expected str, got int"),
        Problem("kind", "not one of the allowed values"),
        Problem("payload.account", "does not match the pattern"),
        Problem("amount", "below the minimum 0"),
        Problem("tags", "element: longer than 3 characters"),
    ]


def test_a_missing_field_is_named() -> None:
    assert CONTRACT.check({}) == [Problem("id", "missing"), Problem("kind", "missing")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "Input data was truncated"),
        (b"[]", "expected object, got array"),
        (b"", "empty value"),
        (None, "no value (a tombstone)"),
        (b"\xef\xbb\xbf{}", "starts with a byte order mark"),
    ],
)
def test_what_is_no_record_has_no_field(value: bytes | None, reason: str) -> None:
    assert CONTRACT.check(value) == [Problem(None, reason)]


def test_python_values_are_written_as_their_columns_want_them() -> None:
    record = GOOD | {
        "id": UUID(GOOD["id"]),
        "amount": Decimal("12.50"),
        "at": datetime(2026, 1, 31, 8, tzinfo=UTC),
        "day": date(2026, 1, 31),
    }
    written = CONTRACT.encode(record)
    assert b'"amount":12.50' in written
    assert make_decoder(pipeline())(chunk_of([written])).dead == []


def test_numbers_that_json_has_not_are_never_written_as_null() -> None:
    assert b'"ratio":"NaN"' in CONTRACT.encode(GOOD | {"ratio": math.nan})
    assert b'"ratio":"-Infinity"' in CONTRACT.encode(GOOD | {"ratio": -math.inf, "amount": None})
    assert CONTRACT.check(GOOD | {"amount": math.nan}) == [Problem("amount", "not a number")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [("\ud800", "holds half of a surrogate pair"), (object(), "cannot be written"), ("a\0", "holds a NUL character")],
)
def test_what_json_or_the_column_cannot_hold_is_a_problem_of_its_field(value: Any, reason: str) -> None:
    (problem,) = CONTRACT.check(GOOD | {"kind": value})
    assert problem.field == "kind" and problem.reason.startswith(reason)


def test_encode_refuses_with_field_and_reason_and_without_the_value() -> None:
    with pytest.raises(InvalidRecord) as caught:
        CONTRACT.encode(GOOD | {"kind": "secret", "amount": "x"})
    assert (caught.value.field, caught.value.reason) == ("kind", "not one of the allowed values")
    assert str(caught.value) == "kind: not one of the allowed values; amount: not a number"


def test_encode_writes_no_format_but_json() -> None:
    with pytest.raises(ConfigError, match="reads msgpack"):
        Contract(pipeline(format="msgpack")).encode(GOOD)


@pytest.mark.parametrize("on_bad", ["strip", "replace", "null"])
def test_what_a_policy_would_mend_is_a_problem_for_the_producer(on_bad: str) -> None:
    columns = [column | {"on_bad": on_bad} for column in COLUMNS]
    contract = Contract(pipeline(on_bad=on_bad, column=columns))
    assert [one.field for one in contract.check(GOOD | {"payload": {"account": "A-1\0"}, "day": "soon"})] == [
        "payload.account",
        "day",
    ]


def test_columns_read_from_the_key_are_judged_with_it() -> None:
    contract = Contract(pipeline(column=[*COLUMNS, {"name": "k", "type": "int4", "source": "key", "required": True}]))
    assert contract.check(GOOD, key=b"7") == []
    assert [problem.field for problem in contract.check(GOOD)] == ["k"]


def test_versions_have_their_own_rules() -> None:
    two = [column | {"enum": ["opened"]} if column["name"] == "kind" else column for column in COLUMNS]
    contract = Contract(pipeline(version_field="v", contract=[{"version": 2, "column": two}]))
    assert contract.check(GOOD) == [] and contract.check(GOOD | {"v": 2, "kind": "opened"}) == []
    assert contract.check(GOOD | {"v": 2}) == [Problem("kind", "not one of the allowed values")]


def test_load_finds_the_pipeline_and_says_which_there_are(tmp_path: Path) -> None:
    head = '[kafka]\nbootstrap_servers = "embedded"\ngroup_id = "g"\n[store]\nurl = "embedded"\n'
    one = '[[pipeline]]\nname = "{}"\ntopic = "t"\ncolumn = [{{ name = "{}", type = "int4" }}]\ntable.name = "t"\n'
    (tmp_path / "c.toml").write_text(head + one.format("a", "x") + one.format("b", "y"))
    assert Contract.load(tmp_path / "c.toml", "b").check({"y": "no"}) == [Problem("y", "expected int, got str")]
    with pytest.raises(ConfigError, match="choose one of the pipelines: a, b"):
        Contract.load(tmp_path / "c.toml")


VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["created", "A-1", "2026-01-31", "2026-01-31T08:00:00Z", GOOD["id"], "1.50"]),
    st.lists(st.text(max_size=4), max_size=3),
)
RECORDS = st.dictionaries(st.sampled_from([column["name"] for column in COLUMNS] + ["other"]), VALUES, max_size=5)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, max_size=6))
def test_one_by_one_and_many_at_once_agree_with_the_consumer(records: list[dict[str, Any]]) -> None:
    values = [msgspec.json.encode(GOOD | record) for record in records]
    dead = {letter.offset - 100 for letter in make_decoder(pipeline())(chunk_of(list(values))).dead}
    many = CONTRACT.check_many(values)
    assert set(many) == dead
    for position, value in enumerate(values):
        problems = CONTRACT.check(value)
        assert bool(problems) is (position in dead)
        assert position not in dead or problems[0] == many[position]
