"""Contracts as JSON Schema and back: nothing is lost on the way, and both judge records alike."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ingestd.config.options import Column, Pipeline
from ingestd.contract import Contract
from ingestd.contract.exporting import schemas_of
from ingestd.contract.importing import columns_of, toml_of

EVERYTHING: list[dict[str, Any]] = [
    {"name": "id", "type": "uuid", "required": True},
    {"name": "kind", "type": "text", "required": True, "enum": ["a", "ü"], "on_bad": "strip"},
    {"name": "account", "path": "payload.account.id", "type": "text", "pattern": '^A-"[0-9]+$', "required": True},
    {"name": "mail", "path": "payload.mail", "type": "varchar(60)", "format": "email", "max_length": 50},
    {"name": "amount", "type": "numeric(30,2)", "min": "0.10", "max": 1000, "enum": ["0.10", 5]},
    {"name": "small", "type": "int2", "default": 7, "min": 1},
    {"name": "big", "type": "int8", "max": 2**53},
    {"name": "ratio", "type": "float8", "min": 0.5, "keep_when_absent": True},
    {"name": "at", "type": "timestamptz", "epoch": "ms", "assume_utc": True, "min": "2026-01-01"},
    {"name": "day", "type": "date", "enum": ["2026-01-31"]},
    {"name": "tags", "type": "text[]", "max_length": 3, "pattern": "^x"},
    {"name": "more", "type": "jsonb", "required": True},
    {"name": "raw", "type": "bytea", "stored": False},
    {"name": "ok", "type": "bool"},
    {"name": "place", "type": "int8", "source": "offset"},
]


def pipeline_of(columns: list[dict[str, Any]], **options: Any) -> Pipeline:
    tree = {"name": "p", "topic": "t", "column": columns, "table": {"name": "t"}, **options}
    return msgspec.convert(tree, Pipeline)


def written(schema: object) -> Any:
    """The schema as a reader of the file sees it."""
    return json.loads(msgspec.json.Encoder(decimal_format="number").encode(schema))


def exported(columns: list[dict[str, Any]], **options: Any) -> Any:
    (schema,) = schemas_of(pipeline_of(columns, **options))
    Draft202012Validator.check_schema(written(schema))
    return written(schema)


def back(schema: Any) -> tuple[list[dict[str, Any]], str]:
    """The columns that importing the schema gives, read from its TOML as a configuration would be, and the TOML."""
    text = toml_of(*columns_of(schema))
    return tomllib.loads(text).get("pipeline", {}).get("column", []), text


def test_exported_and_imported_columns_are_the_same() -> None:
    columns, text = back(exported(EVERYTHING))
    by_name = {column["name"]: msgspec.convert(column, Column) for column in columns}
    assert by_name == {column["name"]: msgspec.convert(column, Column) for column in EVERYTHING}
    assert "#" not in text


def test_edited_keywords_win_over_what_was_exported() -> None:
    schema = exported([{"name": "n", "type": "int4", "min": 1}])
    schema["properties"]["n"] |= {"minimum": 5, "maximum": 9}
    schema["required"] = ["n"]
    schema["properties"]["n"]["type"] = "integer"
    assert back(schema)[0] == [{"name": "n", "type": "int4", "required": True, "min": 5, "max": 9}]


def test_objects_around_required_fields_are_required() -> None:
    schema = exported(EVERYTHING)
    assert schema["required"] == ["id", "kind", "more", "payload"]
    assert schema["properties"]["payload"]["required"] == ["account"]
    assert schema["properties"]["payload"]["type"] == "object"


def test_versions_are_schemas_of_their_own() -> None:
    one: list[dict[str, Any]] = [{"name": "id", "type": "text", "required": True}, {"name": "n", "type": "int4"}]
    two: list[dict[str, Any]] = [
        {"name": "id", "type": "text", "required": True},
        {"name": "n", "type": "int4", "path": "nested.n"},
    ]
    schemas = schemas_of(pipeline_of(one, version_field="v", contract=[{"version": 2, "column": two}]))
    valid = [[Draft202012Validator(written(schema)).is_valid(record) for schema in schemas] for record in (
        {"id": "x", "n": 1}, {"id": "x", "v": 2, "nested": {"n": 1}}, {"id": "x", "v": 2, "nested": {"n": "1"}},
    )]  # fmt: skip
    assert valid == [[True, False], [False, True], [False, False]]


def test_closed_contracts_allow_no_other_field() -> None:
    columns = [{"name": "a", "type": "int4", "path": "o.a"}, {"name": "j", "type": "jsonb"}]
    validator = Draft202012Validator(exported(columns, unknown_fields="dead_letter"))
    assert validator.is_valid({"o": {"a": 1}, "j": {"any": 1}})
    assert not validator.is_valid({"o": {"a": 1, "b": 1}}) and not validator.is_valid({"c": 1})


FOREIGN = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "when", "maybe"],
    "additionalProperties": False,
    "oneOf": [{"required": ["id"]}],
    "$defs": {"money": {"type": "number", "minimum": 0, "multipleOf": 0.01}, "tree": {
        "type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}}}},
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "when": {"type": "string", "format": "date-time"},
        "maybe": {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        "price": {"$ref": "#/$defs/money"},
        "tree": {"$ref": "#/$defs/tree"},
        "state": {"enum": ["a", "b", None]},
        "one": {"const": 5},
        "look": {"type": "string", "pattern": "(?=x)", "minLength": 3, "format": "iri"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "list": {"type": "array", "items": {"type": "integer", "minimum": 1}, "uniqueItems": True},
        "a.b": {"type": "string"},
        "buyer": {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}},
        "evil\n[[pipeline]]": {"type": "string", "format": "x\n[kafka]"},
    },
}  # fmt: skip


def test_a_foreign_schema_becomes_columns_with_a_remark_for_all_that_is_lost() -> None:
    columns, text = back(FOREIGN)
    assert [(column["name"], column["type"]) for column in columns] == [
        ("id", "uuid"),
        ("when", "timestamptz"),
        ("maybe", "int2"),
        ("price", "float8"),
        ("left", "jsonb"),
        ("state", "text"),
        ("one", "int8"),
        ("look", "text"),
        ("either", "jsonb"),
        ("list", "int8[]"),
        ("a.b", "text"),
        ("buyer_id", "text"),
        ("name", "text"),
        ("evil\n[[pipeline]]", "text"),
    ]
    assert [column["name"] for column in columns if column.get("required")] == ["id", "when"]
    assert columns[11]["path"] == "buyer.id" and columns[5]["enum"] == ["a", "b"] and columns[9]["min"] == 1
    for lost in ("oneOf", "additionalProperties", "multipleOf", "may be null", "(?=x)", "minLength", "iri", "anyOf",
                 "uniqueItems", "dot in its name"):  # fmt: skip
        assert re.search(rf"^# .*{re.escape(lost)}", text, re.MULTILINE), lost


def test_no_schema_can_write_a_line_of_the_configuration() -> None:
    _, text = back(FOREIGN)
    assert tomllib.loads(text).keys() == {"pipeline"}
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[[pipeline.column]]"] * 14


ODD_VALUES: list[Any] = [5, {}, [[]]]
NO_LISTS: list[Any] = [True, [{}]]
ITEMS: list[Any] = [5, [], {"type": 5}, {"type": "string", "enum": 5}]
NO_BOUNDS: list[Any] = ["x", None, [], float("inf")]


@pytest.mark.parametrize(
    "field",
    [
        *({word: odd} for word in ("type", "enum", "minimum", "maxLength", "pattern", "format") for odd in ODD_VALUES),
        *({"type": "string", word: odd} for word in ("enum", "pattern", "maxLength", "format") for odd in NO_LISTS),
        *({"type": "array", "items": odd} for odd in ITEMS),
        *({"type": "integer", word: odd} for word in ("minimum", "maximum") for odd in NO_BOUNDS),
        {"required": 5, "type": "object", "properties": {"a": True}},
    ],
)
def test_keywords_without_meaning_neither_crash_nor_write_what_is_no_toml(field: dict[str, Any]) -> None:
    columns, remarks = columns_of({"properties": {"odd": field, "good": {"type": "string"}}})
    assert [column["name"] for column in tomllib.loads(toml_of(columns, remarks))["pipeline"]["column"]][-1] == "good"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {}, "x-ingestd-columns": 5},
        {"properties": {}, "x-ingestd-columns": [5]},
        {"properties": {}, "x-ingestd-columns": [{"name": []}]},
        {"properties": {"a": {"x-ingestd": {"type": "text", "path": {}}}}},
    ],
)
def test_what_export_never_wrote_is_named_and_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"x-ingestd.* is not as `ingestd contract export` writes it"):
        columns_of(schema)


def test_a_schema_of_more_fields_than_a_table_holds_is_refused() -> None:
    level: Any = {"type": "string"}
    for _ in range(12):
        level = {"type": "object", "properties": {"a": level, "b": level}}
    with pytest.raises(ValueError, match="more than 1600 fields"):
        columns_of(level)


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingestd.cli", "contract", *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_command_exports_imports_and_names_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    columns = '[[pipeline.column]]\nname = "id"\ntype = "text"\nrequired = true\npattern = "^x"\n'
    config.write_text(
        '[kafka]\nbootstrap_servers = "embedded"\ngroup_id = "g"\n[store]\nurl = "embedded"\n'
        f'[[pipeline]]\nname = "p"\ntopic = "t"\n{columns}[pipeline.table]\nname = "t"\n'
    )
    done = run("export", "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["properties"]["id"]["pattern"] == "^x"
    assert run("import", "-", given=done.stdout).stdout == columns
    for words, text in ((("import", "-"), "[]"), (("export", "--config", str(config), "--pipeline", "q"), "")):
        failed = run(*words, given=text)
        assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 1, failed.stderr


TYPES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "text": st.fixed_dictionaries({}, optional={"enum": st.just(["a", "b"]), "max_length": st.integers(0, 3)}),
    "varchar(2)": st.fixed_dictionaries({}, optional={"pattern": st.sampled_from(["^a", "b+", "[0-9]"])}),
    "int2": st.fixed_dictionaries({}, optional={"min": st.integers(-5, 5), "max": st.integers(6, 9)}),
    "int8": st.fixed_dictionaries({}, optional={"enum": st.just([1, 2, 3])}),
    "float8": st.fixed_dictionaries({}, optional={"min": st.integers(-5, 5), "max": st.integers(6, 9)}),
    "numeric(5,2)": st.fixed_dictionaries({}, optional={"min": st.integers(-5, 5)}),
    "bool": st.just({}),
    "uuid": st.just({}),
    "jsonb": st.just({}),
    "date": st.just({}),
    "int4[]": st.fixed_dictionaries({}, optional={"max": st.integers(0, 9)}),
}
COLUMN = st.sampled_from(sorted(TYPES)).flatmap(lambda kind: TYPES[kind].map(lambda rules: {"type": kind} | rules))
TREES = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "o.a", "o.p.b"]), COLUMN, st.booleans()), min_size=1,
                 max_size=4, unique_by=lambda one: one[0])  # fmt: skip
ONE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-40_000, 40_000) | st.integers(-(2**70), 2**70),
    st.integers(-2000, 2000).map(lambda cents: cents / 4),
    st.sampled_from(
        ["a", "b", "ab", "abc", "abcd", "", "7", "NaN", "-Infinity", "1.5", "nul\0", "2026-02-03", "x" * 36]
    ),
    st.just("5f2a3a9f-5875-4261-bd7b-00856616ea36"),
)
ANY = ONE | st.lists(ONE, max_size=2) | st.dictionaries(st.sampled_from("ab"), ONE, max_size=2)
RECORD = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys("abc", ANY),
        "o": ANY | st.fixed_dictionaries({}, optional={"a": ANY, "p": st.fixed_dictionaries({}, optional={"b": ANY})}),
    },
)


def said_differently(record: Any, columns: list[dict[str, Any]]) -> bool:
    """What is known: NUL inside of jsonb, numbers in quotes where a numeric has rules, integers written as 1.0."""
    kinds = {column["type"] for column in columns}
    text = json.dumps(record)
    ruled = any(column["type"].startswith("numeric") and "min" in column for column in columns)
    if any(kind.startswith("int") for kind in kinds) and re.search(r"[0-9]\.0(?![0-9])", text):
        return True
    return ("jsonb" in kinds and "\\u0000" in text) or (ruled and re.search(r'"[0-9.]+"', text) is not None)


@settings(max_examples=80, deadline=None)
@given(TREES, st.lists(RECORD, min_size=1, max_size=8))
def test_schema_and_contract_agree_on_records(
    trees: list[tuple[str, dict[str, Any], bool]], records: list[dict[str, Any]]
) -> None:
    columns = [
        {"name": path.replace(".", "_"), "path": path, "required": required, **options}
        for path, options, required in trees
    ]
    validator, contract = Draft202012Validator(exported(columns)), Contract(pipeline_of(columns))
    for record in records:
        if not said_differently(record, columns):
            problems = contract.check(msgspec.json.encode(record))
            assert validator.is_valid(record) is (problems == []), (
                record,
                problems,
                list(validator.iter_errors(record)),
            )


@settings(max_examples=40, deadline=None)
@given(TREES)
def test_any_contract_comes_back_as_it_went(trees: list[tuple[str, dict[str, Any], bool]]) -> None:
    columns = [
        {"name": f"c{number}", "path": path, "required": required, **options}
        for number, (path, options, required) in enumerate(trees)
    ]
    again = {column["name"]: msgspec.convert(column, Column) for column in back(exported(columns))[0]}
    for column in columns:
        assert again[column["name"]] == msgspec.convert(column, Column)


SAMPLES: list[Any] = [
    *(None, True, 0, 1.0, 1.5, -32769, 2**31, 2**63, 10**40, 999.99, 1000, "", "a", "abc"),
    *("nul\0", "NaN", "Infinity", "nan"),
    *("1.5", "2026-02-03", "2026-13-01", "10:30", "24:00", "2026-02-03T10:30:00Z", "2026-02-03T10:30:00", "0000-01-01"),
    *("5f2a3a9f-5875-4261-bd7b-00856616ea36", "AB" * 16, "YWI=", "YW", [], [1], ["a"], [None], {}, {"a": 1}),
]  # fmt: skip
KINDS = ("text", "varchar(2)", "int2", "int4", "int8", "float4", "float8", "numeric(5,2)", "bool", "uuid", "jsonb",
         "bytea", "date", "time", "timestamp", "timestamptz", "text[]", "int2[]", "uuid[]")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_contract_agree_on_every_kind_of_value(kind: str) -> None:
    columns = [{"name": "x", "type": kind}]
    validator, contract = Draft202012Validator(exported(columns)), Contract(pipeline_of(columns))
    differing = [
        sample
        for sample in SAMPLES
        if validator.is_valid({"x": sample}) is bool(contract.check(msgspec.json.encode({"x": sample})))
    ]
    # To JSON Schema 1.0 is an integer; JSON text has no such number, and the contract goes by the text.
    assert differing == {"jsonb": ["nul\0"], "int2": [1.0], "int4": [1.0], "int8": [1.0]}.get(kind, [])
