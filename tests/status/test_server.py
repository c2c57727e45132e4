"""The real server process: what it answers, what it refuses, how it starts and ends."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingestd.status
from ingestd.board import Board, Lane, LaneState, Slot, SlotCell, write_text
from ingestd.errors import ExitCode
from tests.status.boards import make_config, running_lane
from tests.status.served import Answer, Served, end, eventually, fork_status, serving

TOKEN = "correct horse battery staple"
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FILES = Path(ingestd.status.__file__).parent


@pytest.fixture(scope="module")
def open_server() -> Iterator[Served]:
    """On loopback, without a token; orders-0 runs, sales-0 is halted with a hostile text."""
    board = Board()
    board.set_slot(Slot.MEMBERSHIP, SlotCell.PID, os.getpid())
    board.beat(Slot.MEMBERSHIP)
    running_lane(board, 0, 0, 40, 55)
    halted = running_lane(board, 1, 0, 7, 9)
    board.set(halted, Lane.STATE, LaneState.HALTED)
    write_text(board, halted, EVIL)
    with serving(make_config(), board) as served:
        yield served


@pytest.fixture(scope="module")
def token_server() -> Iterator[Served]:
    """Bound to every address, so it needs a token."""
    with serving(make_config(listen="0.0.0.0:0", token=TOKEN), Board()) as served:
        yield served


def partition(served: Served, pipeline: int, index: int = 0) -> dict[str, object]:
    view = json.loads(served.ask("/api/partitions").body)
    found: dict[str, object] = view["pipelines"][pipeline]["partitions"][index]
    return found


def test_api_tells_offsets_lag_and_state(open_server: Served) -> None:
    answer = open_server.ask("/api/partitions")
    assert answer.headers["content-type"] == "application/json"
    view = json.loads(answer.body)
    assert [(item["name"], item["topic"], item["table"]) for item in view["pipelines"]] == [
        ("orders", "orders-topic", "orders_sink"),
        ("sales", "sales-topic", "sales_sink"),
    ]
    assert view["total"]["lag_records"] == 15 + 2
    orders = partition(open_server, 0)
    assert (orders["state"], orders["next_offset"], orders["log_end"], orders["lag_records"]) == ("running", 40, 55, 15)
    assert (partition(open_server, 1)["state"], partition(open_server, 1)["error"]) == ("halted", EVIL)


def test_what_a_worker_writes_on_the_board_is_served_within_a_second_or_two(open_server: Served) -> None:
    open_server.board.set(0, Lane.NEXT_OFFSET, 45)
    eventually(lambda: partition(open_server, 0)["lag_records"] == 10, "the new cursor is served")
    open_server.board.set(0, Lane.NEXT_OFFSET, 40)
    eventually(lambda: partition(open_server, 0)["lag_records"] == 15, "the old cursor is served")


def test_metrics_in_both_formats(open_server: Served) -> None:
    text = open_server.ask("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert b'ingestd_lag_records{partition="0",pipeline="orders",topic="orders-topic"} 15.0' in text.body
    openmetrics = open_server.ask("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")


def test_probes(open_server: Served) -> None:
    alive, ready = open_server.ask("/healthz"), open_server.ask("/readyz")
    assert (alive.status, alive.body) == (200, b"ok\n")
    assert ready.status == 503
    assert [reason["code"] for reason in json.loads(ready.body)["reasons"]] == ["halted"]


def test_head_has_headers_and_no_body(open_server: Served) -> None:
    answer = open_server.ask("/", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(open_server: Served, method: str) -> None:
    answer = open_server.ask("/api/partitions", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/partitions", "/metrics", "/nowhere", "/healthz"])
def test_every_answer_is_strict(open_server: Served, path: str) -> None:
    headers = open_server.ask(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8480", "localhost.evil.example", "", "127.0.0.1.nip.io"]
)
def test_foreign_host_header_is_refused_on_loopback(open_server: Served, host: str) -> None:
    assert open_server.ask("/api/partitions", Host=host).status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8480", "[::1]:8480", "LOCALHOST"])
def test_host_headers_of_this_machine_pass(open_server: Served, host: str) -> None:
    assert open_server.ask("/api/partitions", Host=host).status == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/partitions", "/metrics", "/readyz", "/nowhere"])
def test_every_path_but_healthz_needs_the_token(token_server: Served, path: str) -> None:
    answer = token_server.ask(path)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="ingestd"')
    assert token_server.ask(path, Authorization=f"Bearer {TOKEN}").status in (200, 404, 503)


def test_healthz_is_open(token_server: Served) -> None:
    assert token_server.ask("/healthz").status == 200


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ÿ"]
)
def test_wrong_token_is_refused(token_server: Served, header: str) -> None:
    assert token_server.ask("/metrics", Authorization=header).status == 401


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def test_token_in_the_address_is_exchanged_for_a_strict_cookie(token_server: Served) -> None:
    query = "/?token=" + TOKEN.replace(" ", "%20")
    answer = token_server.ask(query)
    assert answer.status == 200
    assert "; HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    assert TOKEN.split()[0] not in answer.headers["set-cookie"]
    assert token_server.ask("/api/partitions", Cookie=f"other=1; {cookie_of(answer)}").status == 200
    assert token_server.ask("/api/partitions", Cookie=cookie_of(answer) + "0").status == 401


def test_token_in_the_address_counts_for_the_page_only_and_a_wrong_one_gives_no_cookie(token_server: Served) -> None:
    assert token_server.ask("/api/partitions?token=" + TOKEN.replace(" ", "%20")).status == 401
    wrong = token_server.ask("/?token=wrong")
    assert (wrong.status, "set-cookie" in wrong.headers) == (401, False)


def test_page_has_no_inline_code_and_loads_nothing_from_elsewhere(open_server: Served) -> None:
    page = open_server.ask("/").body.decode()
    assert [
        word for word in ("<style", "style=", " on", "javascript:", "http") if word in page.replace("http-", "")
    ] == []
    script = (FILES / "page.js").read_text()
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function")
    assert [word for word in forbidden if word in script] == []
    assert "http" not in script.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_page_in_a_browser_shows_hostile_text_and_does_not_run_it(open_server: Served, tmp_path: Path) -> None:
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = ["chromium", *flags.split(), "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000"]
    url = f"http://127.0.0.1:{open_server.port}/"
    run = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}", "--dump-dom", url], capture_output=True, text=True, timeout=60
    )
    assert "<title>ingestd</title>" in run.stdout
    assert "&lt;script&gt;document.title" in run.stdout
    assert '<img src="x"' not in run.stdout
    assert ">not ready</span>" in run.stdout
    assert '<td data-name="Next offset">40</td>' in run.stdout


def test_port_0_takes_a_free_port_and_logs_it() -> None:
    read, write = os.pipe()
    board = Board()
    pid = fork_status(make_config(listen="127.0.0.1:0"), board, stderr=write)
    os.close(write)
    eventually(lambda: board.slot(Slot.STATUS, SlotCell.BEAT_NS) > 0, "the status server beats")
    line = os.read(read, 4096).decode()
    port = int(line.partition("http://127.0.0.1:")[2].partition("/")[0])
    answer = Served(board, port, pid).ask("/healthz")
    assert (end(pid), answer.status) == (ExitCode.OK, 200)
    os.close(read)


@pytest.mark.parametrize(
    ("listen", "code", "words"),
    [
        ("127.0.0.1:{busy}", ExitCode.STARTUP, "Address already in use"),
        ("0.0.0.0:0", ExitCode.USAGE, "needs status.token"),
        ("nonsense", ExitCode.USAGE, "nonsense"),
    ],
)
def test_bad_address_is_one_line_and_an_exit_code(listen: str, code: ExitCode, words: str) -> None:
    read, write = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        pid = fork_status(make_config(listen=listen.format(busy=busy.getsockname()[1])), Board(), stderr=write)
        os.close(write)
        _, status = os.waitpid(pid, 0)
    with os.fdopen(read) as log:
        lines = log.read().splitlines()
    assert os.waitstatus_to_exitcode(status) == code
    assert len(lines) == 1
    assert words in lines[0]


def test_open_connection_does_not_hold_up_the_end() -> None:
    with serving(make_config(), Board()) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    client.close()
