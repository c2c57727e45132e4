"""The pages say what the code does: generated pages are current, every TOML block loads, every command exists."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec import inspect

from ingestd import cli
from ingestd.config import file as config_file
from ingestd.config.options import Config
from ingestd.errors import ConfigError, ExitCode
from ingestd.metrics import METRICS, PREFIX
from ingestd.reference import api as api_reference
from ingestd.reference import cli as cli_reference
from ingestd.reference import config as config_reference
from ingestd.reference import metrics as metrics_reference

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
GENERATED = {
    "api.md": api_reference.render,
    "config.md": config_reference.render,
    "metrics.md": metrics_reference.render,
    "cli.md": cli_reference.render,
}
PAGES = [ROOT / "README.md", *(page for page in sorted(DOCS.glob("*.md")) if page.name not in GENERATED)]
PAGES += sorted((ROOT / "examples").rglob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """(page and line, text) of every fenced block in this language."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                line = text.count("\n", 0, match.start()) + 2
                yield f"{page.relative_to(ROOT)}:{line}", match[2]


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in parsed TOML; a list or a table of properties is one value."""
    for name, value in tree.items():
        if isinstance(value, dict) and name != "properties":
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command of the parser, nested ones as "offsets show"."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found[name] = below
                found |= {f"{name} {inner}": nested for inner, nested in commands(below).items()}
    return found


def options(parser: argparse.ArgumentParser) -> set[str]:
    return {text for action in parser._actions for text in action.option_strings} - {"-h", "--help"}


PARSER = cli.build_parser()
COMMANDS = commands(PARSER)


def calls_of_ingestd(text: str) -> Iterator[list[str]]:
    """Words after `ingestd`, from shell blocks and from code inside sentences."""
    for match in FENCE.finditer(text):
        if match[1] == "sh":
            for call in re.findall(r"^(?:\S*/)?ingestd (.+)", match[2], re.MULTILINE):
                yield shlex.split(call, comments=True)
    for call in re.findall(r"`ingestd ([^`\n]+)`", FENCE.sub("", text)):
        yield shlex.split(call)


def wrong_calls(text: str) -> list[str]:
    """Calls of `ingestd` in the text whose command or option does not exist."""
    wrong = []
    for words in calls_of_ingestd(text):
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        is_group = any(other.startswith(f"{name} ") for other in COMMANDS)
        if name not in COMMANDS or (is_group and words[1:] and words[1] != "show|reset"):
            wrong.append(f"ingestd {' '.join(words)}: no such command")
            continue
        known = options(COMMANDS[name]) | options(PARSER)
        given = (word.split("=")[0] for word in words if word.startswith("--"))
        wrong += [f"ingestd {' '.join(words)}: no option {word}" for word in given if word not in known]
    return wrong


@pytest.mark.parametrize("name", GENERATED)
def test_generated_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == GENERATED[name](), "run: make docs"


def test_every_command_and_option_is_documented() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"ingestd {name}" not in page] == []
    assert [option for parser in COMMANDS.values() for option in options(parser) if option not in page] == []


def test_every_metric_is_documented() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert [metric.name for metric in METRICS if f"{PREFIX}{metric.name}" not in page] == []


def option_names(kind: object) -> Iterator[str]:
    """Names of all options in a struct and in the structs inside it."""
    if isinstance(kind, inspect.StructType):
        for field in kind.fields:
            yield field.encode_name
            yield from option_names(field.type)
    elif isinstance(kind, inspect.Metadata):
        yield from option_names(kind.type)
    elif isinstance(kind, inspect.VarTupleType):
        yield from option_names(kind.item_type)


def test_every_configuration_option_is_documented() -> None:
    page = (DOCS / "config.md").read_text(encoding="utf-8")
    names = set(option_names(inspect.type_info(Config)))
    assert {"kafka", "max_wait", "epoch", "stalled_after"} <= names
    assert [name for name in names if name not in page] == []


def test_every_exit_code_is_in_the_operations_page() -> None:
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert [code for code in ExitCode if f"\n| {int(code)} |" not in page] == []


@pytest.mark.parametrize(("place", "text"), list(blocks("toml")))
def test_toml_block_loads(place: str, text: str, tmp_path: Path) -> None:
    """A block with pipelines is a whole file; any other is laid over one, `[pipeline.lake]` over its first pipeline."""
    whole = next(block for _, block in blocks("toml") if "[[pipeline]]" in block)
    page = place.partition(":")[0]
    if "[pipeline.lake]" in text and page != "README.md":
        own = ROOT / Path(place).parent
        example = own if (own / "ingestd.toml").exists() else ROOT / "examples" / "crm"
        whole = (example / "ingestd.toml").read_text(encoding="utf-8")
        shutil.copytree(example, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "ingestd.toml"
    file.write_text(text if "[[pipeline]]" in text else whole)
    fragment = {} if "[[pipeline]]" in text else tomllib.loads(text)
    overrides = [f"{first_pipeline(path)}={inline(value)}" for path, value in leaves(fragment)]
    assert config_file.load(file, environ={}, overrides=overrides).pipeline


def first_pipeline(path: str) -> str:
    """`[pipeline.lake]` alone means that of the pipeline above it."""
    return re.sub(r"^pipeline\.", "pipeline[0].", path)


def inline(value: Any) -> str:
    """A value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {inline(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def test_a_wrong_toml_fragment_does_not_load(tmp_path: Path) -> None:
    whole = next(block for _, block in blocks("toml") if "[[pipeline]]" in block)
    (tmp_path / "ingestd.toml").write_text(whole)
    with pytest.raises(ConfigError, match="no_such_option"):
        config_file.load(tmp_path / "ingestd.toml", environ={}, overrides=["status.no_such_option=1"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_ingestd_command_in_the_page_exists(page: Path) -> None:
    assert wrong_calls(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["`ingestd fly`", "```sh\ningestd run --no-such-option x\n```", "```sh\nbin/ingestd offsets sing\n```"]
)
def test_a_command_that_does_not_exist_is_found(text: str) -> None:
    assert wrong_calls(text)


@pytest.mark.parametrize("module", ["bench.__main__"])
def test_every_bench_command_in_the_pages_parses(module: str) -> None:
    make_parser: Callable[[], argparse.ArgumentParser] = import_module(module).make_parser
    calls = [call for _, text in blocks("sh") for call in re.findall(r"python -m bench (.+)", text)]
    assert calls
    for call in (call for call in calls if "--help" not in call):
        make_parser().parse_args(shlex.split(call, comments=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_make_target_in_the_pages_exists() -> None:
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"make (\w+)", listed))
    named = {name for _, text in blocks("sh") for name in re.findall(r"^make (\w+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["embedded"], *extras["lake"], *extras["registry"], *extras["s3"]]
    reasons = (DOCS / "architecture.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    names = [re.split(r"[\[<>=]", one)[0] for one in wanted]
    assert [name for name in names if not re.search(rf"^\|[^|]*\b{name}\b[^|]*\|", reasons, re.MULTILINE)] == []
