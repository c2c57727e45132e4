"""`ingestd dead-letters` finds the wanted letters and no others, changes only what it says, and says what it did."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingestd import cli
from ingestd.stores.dead_letters import Wanted
from tests.redrive.conftest import Desk, MakeDesk

CONFIG = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
group_id = "g"
[store]
url = "{url}"
[[pipeline]]
name = "p"
topic = "orders"
dead_letters = {{ max_ratio = 1.0, max_run = 1000000 }}
[[pipeline.column]]
name = "id"
type = "text"
required = true
[[pipeline.column]]
name = "v"
type = "int4"
[[pipeline.column]]
name = "w"
type = "text"
[pipeline.table]
name = "orders"
mode = "insert"
key = ["id"]
"""


class Command:
    """The command on a configuration file, and what it printed."""

    def __init__(self, desk: Desk, folder: Path, capsys: pytest.CaptureFixture[str]):
        self.desk = desk
        self._file = folder / "ingestd.toml"
        self._file.write_text(CONFIG.format(url=str.__str__(desk.options.url)))
        self._capsys = capsys

    def __call__(self, verb: str, *words: str) -> tuple[int, str, str]:
        code = cli.main(["dead-letters", verb, "--config", str(self._file), *words])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def places(self, *words: str) -> list[int]:
        """The offsets of the letters that `list` finds, in its order."""
        code, out, err = self("list", "--format", "json", *words)
        assert code == 0, err
        return [json.loads(line)["offset"] for line in out.splitlines() if line]


@pytest.fixture
def command(desk: MakeDesk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Four letters: offsets 0 and 1 refused by the decoder, 2 and 3 by the table."""
    one = desk()
    values: list[Any] = [b"\x1b[2Jno json", {"id": "a", "v": "x"}, {"id": "b", "v": -1}, {"id": "c", "v": -2}]
    one.bench.commit([*values, {"id": "good", "v": 1}])
    return Command(one, tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        ([], [3, 2, 1, 0]),
        (["--limit", "1"], [3]),
        (["--stage", "decode"], [1, 0]),
        (["--column", "v"], [1]),
        (["--sqlstate", "23514"], [3, 2]),
        (["--reason", "CHECK"], [3, 2]),
        (["--partition", "0", "--offset", "1..2"], [2, 1]),
        (["--partition", "1"], []),
        (["--offset", "..0"], [0]),
        (["--offset", "3.."], [3]),
        (["--offset", "2"], [2]),
        (["--since", "2020-01-01", "--until", "2020-01-02"], []),
        (["--since", "2020-01-01T00:00:00+02:00"], [3, 2, 1, 0]),
        (["--where", '"offset" = 1 OR sqlstate IS NOT NULL -- no comment hides the rest'], [3, 2, 1]),
        (["--where", "reason LIKE '%check%'", "--offset", "3"], [3]),
    ],
)
def test_only_wanted_letters_are_found(command: Command, words: list[str], offsets: list[int]) -> None:
    assert command.places(*words) == offsets


@pytest.mark.parametrize(
    "where",
    [
        "true; DELETE FROM {letters}",
        "true); DELETE FROM {letters} WHERE (true",
        "no_such_column = 1",
        "id IN (",
    ],
)
def test_condition_can_change_nothing(command: Command, where: str) -> None:
    table = "ingestd_dead_letters" if command.desk.sqlite else "ingestd.dead_letters"
    code, out, err = command("drop", "--yes", "--where", where.replace("{letters}", table))
    assert (code, out) == (2, "")
    assert err.startswith("ingestd: error: --where: ") and err.count("\n") == 1
    assert len(command.desk.letters()) == 4


@pytest.mark.parametrize("desk", ["postgres"], indirect=True)
def test_condition_that_writes_is_refused(command: Command) -> None:
    where = "id IN (SELECT setval(pg_get_serial_sequence('ingestd.dead_letters', 'id'), 1))"
    code, _, err = command("list", "--where", where)
    assert code == 2 and "read-only" in err


def test_summary_counts_by_reason(command: Command) -> None:
    code, out, _ = command("list", "--summary")
    assert code == 0
    assert out.splitlines()[1].split()[:2] == ["2", "write"]


def test_list_and_show_print_no_escape_sequence_of_a_payload(command: Command) -> None:
    ids = [str(number) for number in command.desk.box().find(Wanted())]
    for words in (["list"], ["list", "--format", "csv"], ["show", *ids], ["show", "--format", "json", *ids]):
        code, out, _ = command(words[0], *words[1:])
        assert code == 0 and "no json" in out and "\x1b" not in out


def test_show_names_a_letter_that_is_not_there(command: Command) -> None:
    code, _, err = command("show", "999")
    assert (code, err) == (3, "ingestd: error: this pipeline has no dead letter 999\n")


def test_redrive_names_the_column_that_refused_a_letter_again(command: Command) -> None:
    code, out, _ = command("redrive", "--offset", "1")
    assert code == 4 and "refused again: column v: " in out


def test_redrive_of_nothing_does_not_look_like_work(command: Command) -> None:
    assert command("redrive", "--partition", "7") == (0, "no dead letters\n", "")


def test_redrive_says_what_became_of_the_letters(command: Command) -> None:
    code, out, _ = command("redrive", "--fix", "v=abs(v)", "--dry-run")
    assert code == 4 and "dry run, nothing was changed: of 4 dead letters 2 would leave" in out
    assert "id='b', v=1" in out and len(command.desk.letters()) == 4
    code, out, _ = command("redrive", "--fix", "v=abs(v)", "--stage", "write")
    assert (code, out) == (0, "of 2 dead letters 2 left: 2 inserted\n")
    assert command.desk.bench.column() == ["b", "c", "good"]


def test_text_of_a_payload_can_be_mended(command: Command) -> None:
    fix = """'{"id": "z", "w": "' + replace(payload[4:], 'no', 'now') + '"}'"""
    code, out, _ = command("redrive", "--offset", "0", "--fix-text", fix)
    assert (code, out) == (0, "of 1 dead letters 1 left: 1 inserted\n")
    assert command.desk.ask("SELECT w FROM orders WHERE id = 'z'") == [("now json",)]


def test_drop_asks_first_and_counts_what_it_drops(command: Command) -> None:
    assert "2 would be dropped" in command("drop", "--stage", "write", "--dry-run")[1]
    assert "nothing was dropped" in command("drop", "--stage", "write")[1]
    assert len(command.desk.letters()) == 4
    code, out, _ = command("drop", "--stage", "write", "--yes")
    assert (code, out.splitlines()[-1]) == (0, "dropped 2 dead letters")
    assert (len(command.desk.letters()), command.desk.counters()["dropped"]) == (2, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "--offset", "x..2"], "--offset"),
        (["list", "--since", "yesterday"], "--since"),
        (["list", "--limit", "0"], "--limit"),
        (["redrive", "--fix", "v"], "--fix"),
        (["list", "--pipeline", "q"], "--pipeline"),
    ],
)
def test_wrong_words_are_refused_in_one_line(command: Command, words: list[str], said: str) -> None:
    code, _, err = command(words[0], *words[1:])
    assert code == 2 and err.startswith(f"ingestd: error: {said}") and err.count("\n") == 1
