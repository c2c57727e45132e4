"""Formats, their registry and their columns: what contradicts is refused, what is secret stays so, check asks it."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings

from ingestd.config.file import load, redact
from ingestd.errors import ConfigError
from tests.config.check_command import run_check
from tests.config.test_secrets import SECRETS
from tests.decode.registered import Answers, answering

TEMPLATE = """
[kafka]
bootstrap_servers = "embedded"
group_id = "g"
[store]
url = "embedded"
{registry}
[[pipeline]]
name = "p"
topic = "t"
format = "{form}"
{options}
column = [{columns}]
[pipeline.table]
name = "t"
"""
VALUE = '{ name = "v", type = "bytea" }'
KEY = '{ name = "k", type = "text", source = "key" }'
REGISTRY = '[schema_registry]\nurl = "http://localhost:8081"'


def written(folder: Path, form: str, columns: str = VALUE, registry: str = "", options: str = "") -> Path:
    path = folder / "c.toml"
    path.write_text(TEMPLATE.format(form=form, columns=columns, registry=registry, options=options))
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return list(caught.value.problems)


@pytest.mark.parametrize("form", ["avro", "json_schema", "protobuf"])
def test_format_of_a_registry_needs_one(tmp_path: Path, form: str) -> None:
    [problem] = problems(written(tmp_path, form))
    assert "pipeline[0].format" in problem and "[schema_registry]" in problem
    assert load(written(tmp_path, form, registry=REGISTRY)).schema_registry is not None


@pytest.mark.parametrize("form", ["json", "msgpack", "raw"])
def test_other_formats_need_none(tmp_path: Path, form: str) -> None:
    assert load(written(tmp_path, form)).pipeline[0].format == form


@pytest.mark.parametrize(
    ("columns", "options", "place"),
    [
        (KEY, "", "pipeline[0].format"),
        (f'{VALUE}, {{ name = "w", type = "text" }}', "", "pipeline[0].format"),
        ('{ name = "v", type = "int4" }', "", "pipeline[0].column[0].type"),
        ('{ name = "v", type = "text[]" }', "", "pipeline[0].column[0].type"),
        (f'{KEY}, {{ name = "v", type = "text", path = "a.b" }}', "", "pipeline[0].column[1].path"),
        (VALUE, 'unknown_fields = "dead_letter"', "pipeline[0].unknown_fields"),
        (VALUE, 'on_new_field = "evolve"', "pipeline[0].on_new_field"),
    ],
)
def test_raw_needs_one_column_for_the_value_and_nothing_that_reads_fields(
    tmp_path: Path, columns: str, options: str, place: str
) -> None:
    found = problems(written(tmp_path, "raw", columns, options=options))
    assert [problem for problem in found if place in problem], found


def test_raw_value_beside_what_comes_from_elsewhere_is_fine(tmp_path: Path) -> None:
    assert len(load(written(tmp_path, "raw", f"{KEY}, {VALUE}")).pipeline[0].column) == 2


@pytest.mark.parametrize("url", ["localhost:8081", "ftp://h/", "http://", "http://u:p/w@h:1", "http://h:99999", ""])
def test_url_of_the_registry_must_be_one_and_is_not_shown(tmp_path: Path, url: str) -> None:
    found = problems(written(tmp_path, "avro", registry=f'[schema_registry]\nurl = "{url}"'))
    assert all("schema_registry.url" in problem for problem in found), found
    assert len(url) < 10 or url not in str(found)


def test_login_is_given_once(tmp_path: Path) -> None:
    registry = (
        '[schema_registry]\nurl = "http://u:hidden-1@h:1"\nproperties = { "basic.auth.user.info" = "u:hidden-2" }'
    )
    [problem] = problems(written(tmp_path, "avro", registry=registry))
    assert "basic.auth.user.info" in problem and "hidden" not in problem


@settings(max_examples=40, deadline=None)
@given(SECRETS, SECRETS)
def test_no_secret_of_the_registry_in_any_text(tmp_path_factory: pytest.TempPathFactory, url: str, other: str) -> None:
    names = ("basic.auth.user.info", "bearer.auth.client.secret", "ssl.key.password")
    given_properties = ", ".join(f'"{name}" = "other-${{OTHER}}"' for name in names[1:])
    registry = f'[schema_registry]\nurl = "https://user:${{URL}}@h:1/path"\nproperties = {{ {given_properties} }}'
    path = written(tmp_path_factory.mktemp("c"), "avro", registry=registry)
    config = load(path, {"URL": url, "OTHER": other})
    texts = [repr(config), str(config)]
    texts += [redact(f"it failed: {text} (again)", config) for text in (url, quote(url, safe=""), f"other-{other}")]
    assert not [text for text in texts if "s3Same" in text]


def test_password_of_user_info_alone_is_masked_too(tmp_path: Path) -> None:
    registry = f'{REGISTRY}\nproperties = {{ "basic.auth.user.info" = "reader:only-the-password" }}'
    config = load(written(tmp_path, "avro", registry=registry))
    assert redact("denied with only-the-password", config) == "denied with ***"


@pytest.mark.parametrize(
    ("status", "body", "code", "said"),
    [
        (200, b'["a-value"]', 0, "answers, 1 subject"),
        (401, b"", 3, "access denied"),
        (500, b"", 3, "HTTP 500"),
        (404, b"<html>", 3, "Confluent-compatible"),
    ],
)
def test_check_asks_the_registry(tmp_path: Path, status: int, body: bytes, code: int, said: str) -> None:
    answers = Answers()
    answers.status, answers.body = status, body
    with answering(answers) as url:
        registry = f'[schema_registry]\nurl = "{url.replace("http://", "http://reader:hidden@")}"'
        answer = run_check(written(tmp_path, "avro", registry=registry))
    [found] = answer.of("schema registry")
    assert said in found["message"]
    assert (answer.code, "hidden" in answer.text) == (code, False)


def test_check_finds_a_registry_that_is_not_there(tmp_path: Path) -> None:
    answer = run_check(written(tmp_path, "avro", registry='[schema_registry]\nurl = "http://127.0.0.1:1"'))
    [found] = answer.of("schema registry")
    assert (found["state"], answer.code) == ("FAIL", 3)
    assert "http://127.0.0.1:1" in found["message"] and found["mend"]


def test_check_finds_a_property_that_the_client_does_not_know(tmp_path: Path) -> None:
    registry = f'{REGISTRY}\nproperties = {{ "no.such" = 1 }}'
    answer = run_check(written(tmp_path, "avro", registry=registry))
    assert answer.code == 2
    assert "no.such" in answer.of("configuration")[-1]["message"]
