"""A lake in an object store is read through Arrow, with the same answers: here a directory that says it is one."""

from pathlib import Path
from typing import Any

import pytest

from ingestd.cli import main
from ingestd.lake.places.local import LocalPlace
from ingestd.stores.reading import live_files
from tests.query.lakes import MadeLake, event, lake_config
from tests.query.test_lake import answer


class Bucket(LocalPlace):
    """Answers only as an object store can: by whole keys."""

    opened: list[str] = []

    @property
    def url(self) -> str:
        return "s3://bucket/lake"

    def read(self, key: str) -> Any:
        self.opened.append(key)
        return super().read(key)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeLake:
    lake = MadeLake(lake_config(tmp_path, f"sqlite:///{tmp_path}/ledger.db"))
    lake.commit([event(n) for n in range(20)])
    lake.commit([event(20, kind=""), event(21, kind="long " * 100)])
    lake.commit([event(n) for n in range(22, 30)], settled=False)
    lake.close()
    Bucket.opened = []
    monkeypatch.setattr("ingestd.lake.reading.ask.open_place", lambda options: Bucket(options.path))
    return lake


def test_the_answers_are_those_of_a_directory(made: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(made, capsys, "SELECT count(*) AS n, count(DISTINCT id) AS d FROM lake") == [{"n": 30, "d": 30}]
    assert answer(made, capsys, "SELECT id, kind, month FROM lake WHERE id IN (20, 29) ORDER BY id") == [
        {"id": 20, "kind": "", "month": 1},
        {"id": 29, "kind": "c", "month": 2},
    ]
    assert answer(made, capsys, "SELECT id FROM lake WHERE kind LIKE 'long%'") == [{"id": 21}]
    assert answer(made, capsys, "SELECT count(*) AS n FROM lake WHERE month = 2 AND month(ts) <> 2") == [{"n": 0}]
    assert any(key.startswith("_staging/") for key in Bucket.opened)


def test_other_objects_cannot_be_read(made: MadeLake, capsys: pytest.CaptureFixture[str]) -> None:
    for sql in ("SELECT * FROM 's3://bucket/lake/_ingestd.json'", f"SELECT * FROM read_text('{made.file}')"):
        assert main(["query", "--config", str(made.file), "--lake", "--sql", sql]) == 3
    assert capsys.readouterr().err.count("ingestd: error:") == 2


def test_a_file_that_vanishes_is_asked_for_again(
    made: MadeLake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stale(*of: Any) -> Any:
        calls.append(of)
        files = live_files(*of)
        if len(calls) == 1:
            again = MadeLake(made.file, prepare=False)
            again.settle()
            again.merge()
            again.close()
        return files

    monkeypatch.setattr("ingestd.lake.reading.ask.live_files", stale)
    assert answer(made, capsys, "SELECT count(*) AS n FROM lake WHERE id >= 0") == [{"n": 30}]
    assert len(calls) == 2
