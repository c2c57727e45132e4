"""Dead letters do not come back as records of their own pipeline."""

from pathlib import Path

from ingestd.config.file import load
from tests.config.test_load import problems, whole


def test_dead_letters_into_the_topic_that_is_read_are_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, whole(options='dead_letters = { topic = "t" }'))
    assert "dead_letters.topic" in found and "would come back" in found


def test_dead_letters_into_another_topic_are_fine(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(whole(options='dead_letters = { topic = "t.dead" }'))
    assert load(tmp_path / "c.toml", {}).pipeline[0].dead_letters.topic == "t.dead"
