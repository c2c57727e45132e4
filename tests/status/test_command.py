"""`ingestd status` against a real status server."""

import argparse
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestd.board import Board, Lane, LaneState, Slot, SlotCell, write_text
from ingestd.commands import status
from ingestd.errors import ExitCode
from tests.status.boards import make_config, running_lane
from tests.status.served import Served, eventually, free_port, serving

ROOT = Path(__file__).parents[2]
TOKEN = "s3cret-token"


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    board = Board()
    board.set_slot(Slot.MEMBERSHIP, SlotCell.PID, os.getpid())
    running_lane(board, 0, 0, 40, 1055)
    retrying = running_lane(board, 0, 1, 7, 9)
    board.set(retrying, Lane.STATE, LaneState.RETRYING)
    write_text(board, retrying, "connection refused \x1b[2J\nforged line")
    with serving(make_config(token=TOKEN), board) as served:
        yield served


@pytest.fixture
def config_file(server: Served, tmp_path: Path) -> Path:
    """A configuration whose status.listen is the server's."""
    return write_config(tmp_path, f"127.0.0.1:{server.port}")


def write_config(directory: Path, listen: str) -> Path:
    path = directory / "ingestd.toml"
    path.write_text(
        f"""
        kafka = {{ bootstrap_servers = "localhost:9092", group_id = "g" }}
        store = {{ url = "postgresql://localhost/db" }}
        status = {{ listen = "{listen}", token = "{TOKEN}" }}
        [[pipeline]]
        name = "orders"
        topic = "orders-topic"
        column = [{{ name = "id", type = "text" }}]
        table = {{ name = "orders_sink" }}
        """
    )
    return path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    status.add_parser(parser.add_subparsers())
    args = parser.parse_args(["status", *arguments])
    return int(args.main(args))


def test_plain_table_when_not_a_terminal(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", str(config_file)) == ExitCode.OK
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert "orders: topic orders-topic into orders_sink" in lines
    cells = next(line.split() for line in lines if line.split()[:2] == ["0", "running"])
    assert cells[2:5] == ["40", "1,055", "1,015"]
    assert "\x1b" not in out
    assert "forged line" not in lines


def test_json_is_the_servers(config_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", str(config_file), "--json") == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["total"]["lag_records"] == 1017


def test_url_with_the_token_from_the_environment(
    server: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(status.TOKEN_VARIABLE, TOKEN)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert run("--url", f"http://127.0.0.1:{server.port}/") == ExitCode.OK
    assert "1,015" in capsys.readouterr().out


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line


def test_wrong_token_is_one_line_that_does_not_repeat_it(
    server: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(status.TOKEN_VARIABLE, "wrong-token")
    assert run("--url", f"http://127.0.0.1:{server.port}") == ExitCode.USAGE
    line = one_error_line(capsys)
    assert "refuses the token" in line
    assert "wrong-token" not in line


def test_daemon_that_does_not_run_is_one_line_and_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listen = f"127.0.0.1:{free_port()}"
    assert run("--config", str(write_config(tmp_path, listen))) == ExitCode.STARTUP
    line = one_error_line(capsys)
    assert f"no daemon answers at http://{listen}" in line
    assert "ingestd run" in line


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:8480", "http://"])
def test_url_of_another_kind_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--url", url) == ExitCode.USAGE
    assert "--url" in one_error_line(capsys)


def test_port_0_asks_for_the_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--config", str(write_config(tmp_path, "127.0.0.1:0"))) == ExitCode.USAGE
    assert "--url" in one_error_line(capsys)


def test_watch_draws_anew_until_ctrl_c(server: Served, config_file: Path) -> None:
    code = "import sys; from tests.status.test_command import run; sys.exit(run(*sys.argv[1:]))"
    master, slave = pty.openpty()
    command = [sys.executable, "-c", code, "--config", str(config_file), "--watch"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"})
    seen = bytearray()

    def shows(text: bytes) -> bool:
        if select.select([master], [], [], 0)[0]:
            seen.extend(os.read(master, 65536))
        return text in seen

    try:
        eventually(lambda: shows(b"1,015"), "the first table")
        server.board.set(0, Lane.NEXT_OFFSET, 55)
        eventually(lambda: shows(b"1,000"), "the table of the new cursor")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == ExitCode.OK
    finally:
        server.board.set(0, Lane.NEXT_OFFSET, 40)
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)
