"""Rules of columns that contradict their type or each other are refused when the file is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from ingestd.config.checks.rules import refused_patterns
from ingestd.config.file import load
from tests.config.test_load import problems, whole


def with_column(options: str, kind: str = "text") -> str:
    return whole(f'{{ name = "id", type = "text", required = true }}, {{ name = "x", type = "{kind}", {options} }}')


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("text", "pattern = '(?=x)'", "x]pattern: is no regular expression that RE2 takes: "),
        ("text", "pattern = '['", "x]pattern: is no regular expression that RE2 takes: "),
        ("int4", "pattern = 'x'", "x]pattern: is for text and varchar, not for int4; remove it"),
        ("jsonb", "enum = ['x']", "x]enum: is for texts, numbers, dates, times and uuid, not for jsonb; remove it"),
        ("bool", "min = 1", "x]min: is for numbers, dates and times, not for bool; remove it"),
        ("text", "max = 'x'", "x]max: is for numbers, dates and times, not for text; remove it"),
        ("date", "max_length = 1", "x]max_length: is for text and varchar, not for date; remove it"),
        ("uuid", "format = 'uri'", "x]format: is for text and varchar, not for uuid; remove it"),
        ("int2", "enum = [1, 40000]", "x]enum: 40000 does not fit int2; write a value of that type"),
        ("int2", "enum = ['1']", 'x]enum: "1" does not fit int2; write a value of that type'),
        ("varchar(2)", "enum = ['abc']", 'x]enum: "abc" does not fit varchar(2); write a value of that type'),
        ("numeric(4,2)", "enum = [1.005]", "x]enum: 1.005 does not fit numeric(4,2); write a value of that type"),
        ("int8", "min = 1.5", "x]min: 1.5 does not fit int8; write a value of that type"),
        ("float8", "min = nan", "x]min: NaN does not fit float8; write a value of that type"),
        ("date", "min = '31.1.2026'", 'x]min: "31.1.2026" does not fit date; write ISO-8601 text'),
        ("int4", "min = 3, max = 2", "x]min: is above max: no value would pass; swap or correct them"),
        ("date", "min = 2026-02-01, max = 2026-01-01", "x]min: is above max: no value would pass"),
        ("numeric(5,2)", "min = 2.5, max = '2.4'", "x]min: is above max: no value would pass"),
        ("varchar(2)", "max_length = 3", "x]max_length: is more than varchar(2) holds; lower it, or remove it"),
        ("text", "enum = ['a'], default = 'b'", "x]default: is not one of enum; a record without the field would"),
    ],
)
def test_rule_that_cannot_be_kept_is_refused_with_its_place(
    tmp_path: Path, kind: str, options: str, expected: str
) -> None:
    found = problems(tmp_path, with_column(options, kind))
    wanted = expected.replace("x]", "pipeline[0].column[1].")
    assert len(found) == 1 and wanted in found[0], found


def test_rules_of_contract_versions_are_checked_as_well(tmp_path: Path) -> None:
    version = 'version_field = "v"\ncontract = [{ version = 1, column = [{ name = "id", type = "text", min = 1 }] }]'
    found = problems(tmp_path, whole(options=version))
    assert any("pipeline[0].contract[0].column[0].min: is for numbers" in problem for problem in found), found


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("text", "pattern = '^[a-z]+$', max_length = 5, format = 'uri', enum = ['a', 'b']"),
        ("numeric(10,2)", "min = 0.005, max = 99999999.99"),
        ("timestamptz", "min = 2026-01-01T00:00:00, max = '2026-12-31T23:59:59Z'"),
        ("date", "min = 2026-01-01, max = 2026-01-01"),
        ("int4[]", "min = 1"),
        ("float8", "min = -1, max = 1.5"),
    ],
)
def test_rules_that_fit_are_taken(tmp_path: Path, kind: str, options: str) -> None:
    (tmp_path / "c.toml").write_text(with_column(options, kind))
    assert load(tmp_path / "c.toml", {}).pipeline[0].column[1].type == kind


def test_patterns_are_judged_without_loading_arrow_here(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(with_column("pattern = '(?=x)'"))
    code = (
        "import sys\nfrom ingestd.config.file import load\nfrom ingestd.errors import ConfigError\n"
        f"try:\n    load({str(tmp_path / 'c.toml')!r}, {{}})\n"
        "except ConfigError as error:\n    print(len(error.problems), 'RE2' in str(error), 'pyarrow' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1 True False\n"


def test_a_pattern_with_half_a_surrogate_pair_is_no_text() -> None:
    assert refused_patterns(["\ud800", "a"]) == {"\ud800": "not text of Unicode"}
