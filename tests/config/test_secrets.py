"""No secret reaches a repr, a log, an error or a page."""

import json
import tempfile
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from ingestd.config.file import load, redact
from ingestd.config.options import Config, Secret, with_addresses
from ingestd.errors import ConfigError

TEMPLATE = """
[kafka]
bootstrap_servers = "localhost:9092"
group_id = "g"
[kafka.properties]
sasl.username = "user"
sasl.password = "${KAFKA_SECRET}"
ssl.key.pem = "${KAFKA_SECRET}"
[store]
url = "postgresql://user:${STORE_SECRET}@h/db"
[status]
token = "${TOKEN}"
[[pipeline]]
name = "p"
topic = "t"
column = [{ name = "id", type = "text", required = true }]
[pipeline.table]
name = "t"
"""

# A mark that occurs nowhere else, with anything around it: what is looked for must not be there by chance.
ANYTHING = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
SECRETS = st.builds(lambda before, after: f"{before}s3Same{after}", ANYTHING, ANYTHING)


def config_with(store: str, kafka: str, token: str, template: str = TEMPLATE) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.toml"
        path.write_text(template)
        return load(path, {"STORE_SECRET": store, "KAFKA_SECRET": kafka, "TOKEN": token})


@given(SECRETS, SECRETS, SECRETS)
def test_no_secret_in_any_text_of_a_configuration(store: str, kafka: str, token: str) -> None:
    config = config_with(store, kafka, token)
    texts = [repr(config), str(config), f"{config}", repr(config.kafka.properties), f"{config.store.url}"]
    texts += [f"{config.status.token}", f"{config.status.token!r}"]
    texts.append(repr(with_addresses(config, "h:1", config.store.url)))
    assert not [text for text in texts if "s3Same" in text]


@given(SECRETS, SECRETS)
def test_redact_finds_a_secret_however_it_is_written(store: str, kafka: str) -> None:
    config = config_with(store, kafka, "token")
    written = [store, quote(store), quote(store, safe=""), quote_plus(store).replace("+", "%20"), repr(store)]
    written += [json.dumps(store), make_conninfo(password=store), make_conninfo(str.__str__(config.store.url)), kafka]
    for text in written:
        assert "s3Same" not in redact(f"it failed: {text} (try again)", config)


@given(SECRETS, SECRETS)
def test_no_secret_in_the_problems_of_a_file(store: str, kafka: str) -> None:
    wrong = TEMPLATE.replace('name = "p"', 'nam = "${STORE_SECRET}"').replace('"text"', '"${KAFKA_SECRET}"')
    wrong = wrong.replace("[status]", '[log]\nlevel = "${TOKEN}"\n[status]').replace(
        'name = "t"', 'name = "${STORE_SECRET}"'
    )
    with pytest.raises(ConfigError) as caught:
        config_with(store, kafka, f"t-{store}", wrong + 'mode = "${STORE_SECRET}"\n')
    assert "s3Same" not in str(caught.value) + repr(caught.value)


@given(ANYTHING.filter(bool))
def test_url_hands_any_password_to_libpq_unchanged(password: str) -> None:
    config = config_with(password, "k", "t")
    assert psycopg.conninfo.conninfo_to_dict(config.store.url)["password"] == password


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:hidden@h/db failed", "postgresql://u:***@h/db failed"),
        ("host=h password=hidden user=u", "host=h password=*** user=u"),
        ("password='hid den' user=u", "password=*** user=u"),
        ("sasl.password=hidden,x=1", "sasl.password=***,x=1"),
        ("password authentication failed for user", "password authentication failed for user"),
        ("see http://h:80/path", "see http://h:80/path"),
    ],
)
def test_redact_masks_what_looks_like_a_password_of_others(text: str, expected: str) -> None:
    assert redact(text, config_with("a-store-secret", "b-kafka-secret", "c-token")) == expected


def test_redact_is_quick_on_a_text_that_is_nearly_the_secret() -> None:
    secret = "a\\'%25" * 50
    config = config_with(secret, "b-kafka-secret", "c-token")
    began = time.monotonic()
    redact((secret[:-1] + "\n") * 20, config)
    assert time.monotonic() - began < 2


def test_a_very_short_password_does_not_eat_the_words_around_it() -> None:
    config = config_with("a", "b-kafka-secret", "c-token")
    assert redact("a table was made: password a", config) == "*** table was made: password ***"


def test_malformed_url_keeps_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        config_with("x", "y", "z", TEMPLATE.replace("user:${STORE_SECRET}@h", "user:p/hid@den@h"))
    assert "hid" not in str(caught.value)


def test_secret_reveals_only_when_asked() -> None:
    secret = Secret("open")
    assert (f"{secret}", repr(secret), secret.reveal(), secret == "open") == ("***", "'***'", "open", True)
