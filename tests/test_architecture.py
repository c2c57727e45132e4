"""The shape of the code holds, and each check of it fails on a planted violation."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture

ROOT = Path(__file__).parent.parent
CHECKS = [
    architecture.unplaced_modules,
    architecture.upward_imports,
    architecture.mixed_databases,
    architecture.import_cycles,
    architecture.long_files,
    architecture.long_functions,
    architecture.wide_classes,
    architecture.junk_drawers,
]
LIGHT = ["ingestd.supervisor.loop", "ingestd.cli", "ingestd.config.options", "ingestd.board", "ingestd.schema.postgres"]
Check = Callable[[Path], list[str]]


def plant(root: Path, files: dict[str, str]) -> Path:
    """A project under root with these files, given without their ".py"."""
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_code_keeps_the_rule(check: Check) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("module", LIGHT)
def test_module_loads_no_kafka_database_or_arrow_library(module: str) -> None:
    assert architecture.heavy_imports(ROOT, module) == []


def test_tracked_files_hold_no_machine_path_registry_or_unfinished_work() -> None:
    assert architecture.forbidden_text(ROOT, architecture.tracked_files(ROOT)) == []


def method_list(count: int) -> str:
    return "class Wide:\n" + "".join(f"    def m{number}(self): ...\n" for number in range(count))


def body(lines: int) -> str:
    return "def long():\n" + "    pass\n" * (lines - 1)


PLANTED = [
    (architecture.unplaced_modules, {"ingestd/novelty": ""}, "ingestd.novelty"),
    (architecture.upward_imports, {"ingestd/batch": "import ingestd.cli", "ingestd/cli": ""}, "higher layer"),
    (architecture.upward_imports, {"ingestd/batch": "from .worker import x", "ingestd/worker": ""}, "higher layer"),
    (architecture.upward_imports, {"ingestd/stores/pg": "from .. import worker", "ingestd/worker": ""}, "higher"),
    (
        architecture.upward_imports,
        {"ingestd/batch": "def f():\n    from ingestd import cli", "ingestd/cli": ""},
        "batch.py:2",
    ),
    (architecture.upward_imports, {"ingestd/cli": "import tests.x", "tests/x": ""}, "no part of the package"),
    (
        architecture.upward_imports,
        {"ingestd/embedded/kafka": "import ingestd.board", "ingestd/board": ""},
        "may only",
    ),
    (
        architecture.import_cycles,
        {"ingestd/batch": "import ingestd.logs", "ingestd/logs": "def f():\n    import ingestd.batch"},
        "ingestd.batch -> ingestd.logs -> ingestd.batch",
    ),
    (
        architecture.import_cycles,
        {"bench/a": "import bench.b", "bench/b": "from bench import a"},
        "bench.a -> bench.b",
    ),
    (architecture.mixed_databases, {"ingestd/stores/cursors": "import psycopg"}, "cursors.py:1: imports psycopg"),
    (
        architecture.mixed_databases,
        {"ingestd/sinks/sqlite/gate": "def f():\n    from ingestd.stores.postgres.errors import decide"},
        "gate.py:2: imports ingestd.stores.postgres.errors",
    ),
    (architecture.mixed_databases, {"ingestd/sinks/open": "from ingestd.sinks.sqlite.gate import Gate"}, "another"),
    (architecture.long_files, {"tests/test_long": "#\n" * 400}, "400 lines"),
    (architecture.long_functions, {"bench/load": body(60)}, "long has 60 lines"),
    (architecture.long_functions, {"ingestd/cli": "async " + body(60)}, "long has 60 lines"),
    (architecture.wide_classes, {"ingestd/cli": method_list(9)}, "Wide has 9"),
    (architecture.junk_drawers, {"ingestd/decode/utils": ""}, "decode/utils.py"),
    (architecture.junk_drawers, {"bench/common/__init__": ""}, "bench/common"),
]


@pytest.mark.parametrize(("check", "files", "report"), PLANTED)
def test_planted_violation_is_reported(check: Check, files: dict[str, str], report: str, tmp_path: Path) -> None:
    found = check(plant(tmp_path, files))
    assert len(found) == 1
    assert report in found[0]


def test_what_is_just_allowed_is_not_reported(tmp_path: Path) -> None:
    files = {
        "ingestd/__init__": "",
        "ingestd/errors": "",
        "ingestd/logs": "#\n" * 399,
        "ingestd/batch": "from ingestd import __version__\nfrom ingestd.logs import x",
        "ingestd/cli": "import ingestd.batch\n" + body(59) + method_list(8),
        "ingestd/stores/open": "def f():\n    from ingestd.stores.sqlite.store import SqliteStore",
        "ingestd/stores/sqlite/store": "import sqlite3",
        "ingestd/embedded/java": "",
        "ingestd/embedded/kafka": "from ingestd.embedded import java\nfrom ingestd.errors import StartupError",
    }
    plant(tmp_path, files)
    assert [found for check in CHECKS for found in check(tmp_path)] == []


@pytest.mark.parametrize("library", architecture.HEAVY)
def test_planted_heavy_import_is_reported(library: str, tmp_path: Path) -> None:
    plant(tmp_path, {"ingestd/__init__": "", "ingestd/supervisor": f"import {library}"})
    assert f"importing ingestd.supervisor loads {library}" in architecture.heavy_imports(tmp_path, "ingestd.supervisor")


def test_module_that_cannot_be_imported_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, {"ingestd/__init__": "", "ingestd/supervisor": "import no_such_library"})
    assert "cannot be imported" in architecture.heavy_imports(tmp_path, "ingestd.supervisor.loop")[0]


@pytest.mark.parametrize(
    "text",
    [
        "path = '/wo" + "rk/main/x'",
        "cd /ro" + "ot",
        "#!/home/" + "somebody/bin/python",
        "see https://pypi.o" + "rg/project/x",
        "https://repo1.mav" + "en.org",
        "# TO" + "DO later",
    ],
)
def test_planted_text_is_reported_when_git_tracks_it(text: str, tmp_path: Path) -> None:
    plant(tmp_path, {"notes": f"fine\n{text}\n", "untracked": text})
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "notes.py"], check=True)
    found = architecture.forbidden_text(tmp_path, architecture.tracked_files(tmp_path))
    assert [report.split(": ")[0] for report in found] == ["notes.py:2"]


def test_relative_paths_and_plain_words_are_allowed(tmp_path: Path) -> None:
    plant(tmp_path, {"notes": "a/work/b, ./root/x, net/work, the root, homework, /etc/ingestd, ${HOME}/work/x\n"})
    assert architecture.forbidden_text(tmp_path, [tmp_path / "notes.py"]) == []
