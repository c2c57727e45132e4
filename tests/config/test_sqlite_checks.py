"""What a configuration with an SQLite store must not say."""

from pathlib import Path

import pytest

from ingestd.config.file import load
from tests.config.test_load import problems, whole

_STORE = "postgresql://u@h/db"


def _with(url: str, tmp_path: Path, **changes: str) -> list[str]:
    text = whole().replace(_STORE, url)
    for before, after in changes.items():
        text = text.replace(before, after)
    return problems(tmp_path, text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:silver.db", "is not a URL of an SQLite file"),
        ("sqlite://host/silver.db", "is not a URL of an SQLite file"),
        ("sqlite:///", "names no file"),
        ("sqlite:////", "names no file"),
        ("sqlite:///folder/", "names no file"),
        ("sqlite:///:memory:", "would forget its cursors"),
        ("sqlite:///silver.db?mode=ro", "has parameters"),
    ],
)
def test_sqlite_url_that_names_no_file_is_refused(tmp_path: Path, url: str, expected: str) -> None:
    found = [problem for problem in _with(url, tmp_path) if "store.url" in problem]
    assert len(found) == 1 and expected in found[0]


@pytest.mark.parametrize("url", ["sqlite:///silver.db", "sqlite:////var/lib/silver.db", "SQLITE:///a b%20.db"])
def test_sqlite_url_is_accepted(tmp_path: Path, url: str) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        f'[kafka]\nbootstrap_servers = "h:9092"\ngroup_id = "g"\n[store]\nurl = "{url}"\n'
        '[[pipeline]]\nname = "p"\ntopic = "t"\ncolumn = [{ name = "id", type = "text" }]\n'
        '[pipeline.table]\nname = "t"\n'
    )
    assert load(file, {}).store.url == url


def test_options_that_mean_nothing_with_sqlite_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        '[kafka]\nbootstrap_servers = "h:9092"\ngroup_id = "g"\n[store]\nurl = "sqlite:///x.db"\n'
        'synchronous_commit = "remote_apply"\n[workers]\nmax_workers = 4\n'
        '[[pipeline]]\nname = "p"\ntopic = "t"\ncolumn = [{ name = "id", type = "text" }]\n'
        '[pipeline.table]\nname = "public.t"\ndirect = false\n'
    )
    found = "\n".join(problems(tmp_path, file.read_text()))
    for expected in (
        'store.synchronous_commit: must be "on" or "off"',
        "workers.max_workers: SQLite has one writer at a time",
        'pipeline[0].table.name: "public.t": SQLite has no schemas; write "t"',
        "pipeline[0].table.direct: means nothing with SQLite",
    ):
        assert expected in found
