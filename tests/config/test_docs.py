"""The reference page is what the structs say, and its example is a configuration."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from ingestd.reference import config as config_reference

NEEDED = ("KAFKA_PASSWORD", "POSTGRES_PASSWORD", "INGESTD_STATUS_TOKEN")
ROOT = Path(__file__).parents[2]


def test_page_is_current() -> None:
    written = (ROOT / "docs" / "config.md").read_text()
    assert written == config_reference.render(), "run: python -m ingestd.reference.config > docs/config.md"


def test_every_option_is_described() -> None:
    rows = [line for line in config_reference.render().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_example_of_the_page_loads(tmp_path: Path) -> None:
    (tmp_path / "ingestd.toml").write_text(config_reference.EXAMPLE)
    config = load(tmp_path / "ingestd.toml", dict.fromkeys(NEEDED, "x"))
    assert config.pipeline[0].column[3].default == "EUR"
    assert config.kafka.properties["sasl.mechanism"] == "SCRAM-SHA-512"


@pytest.mark.parametrize("name", ["sales", "transactions"])
def test_examples_load_with_the_documented_names(name: str) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
        "POSTGRES_HOST": "db",
        "POSTGRES_PORT": "6432",
        "POSTGRES_DB": "shop",
        "POSTGRES_USER": "me",
        "POSTGRES_PASSWORD": "a/b@c",
    }
    config = load(ROOT / "examples" / name / "ingestd.toml", environ)
    assert config.kafka.bootstrap_servers == "broker:9092"
    assert config.store.url == "postgresql://me:a%2Fb%40c@db:6432/shop"


@pytest.mark.parametrize("name", ["sales", "transactions"])
def test_examples_load_with_nothing_set(name: str) -> None:
    config = load(ROOT / "examples" / name / "ingestd.toml", {})
    assert config.kafka.bootstrap_servers == "embedded"
    assert config.store.url == "postgresql://postgres:@localhost:5432/kafka_sink"


def test_examples_take_the_embedded_store() -> None:
    config = load(ROOT / "examples" / "sales" / "ingestd.toml", {"INGESTD_STORE": "embedded"})
    assert config.store.url == "embedded"
