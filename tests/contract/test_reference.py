"""The example on the page is a program, and refuses what the page says."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from ingestd.reference import contract as reference

ROOT = Path(__file__).parents[2]


def test_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reference.EXAMPLE in (ROOT / "docs" / "api.md").read_text()
    (tmp_path / "ingestd.toml").write_text((ROOT / "examples/sales/ingestd.toml").read_text())
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(reference.EXAMPLE.replace("localhost:9092", "127.0.0.1:1"), scope)
    assert capsys.readouterr().out.strip() == reference.EXAMPLE.rstrip().rpartition("# ")[2]
    assert isinstance(scope["producer"], Producer)
