"""`ingestd demo` as a user runs it, from nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

DEMO = [sys.executable, "-c", "import sys; from ingestd.cli import main; sys.exit(main())", "demo"]


def marked_processes(mark: int) -> list[str]:
    """Command lines of the processes that have this mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"INGESTD_TEST_MARK={mark}\0".encode() in (path / "environ").read_bytes():
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def marked(mark: int) -> dict[str, str]:
    return {**os.environ, "INGESTD_TEST_MARK": str(mark)}


def test_demo_turns_every_sale_into_a_row_and_leaves_nothing_running() -> None:
    mark = os.getpid() * 10 + 1
    done = subprocess.run(
        [*DEMO, "--seconds", "5", "--rate", "2000"],
        env=marked(mark),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.findall(r"first row +after ([\d.]+) s", done.stdout)[0]) < 120
    assert re.search(r"status page +http://127\.0\.0\.1:\d+", done.stdout)
    sent, rows = re.findall(r"produced ([\d,]+) sales, ([\d,]+) rows in public\.sales_events", done.stdout)[0]
    assert sent == rows
    assert int(sent.replace(",", "")) > 5000
    assert re.search(r"rows [\d,]+/s  lag [\d,]+", done.stdout)
    assert "Traceback" not in done.stderr
    assert marked_processes(mark) == []


def test_interrupted_demo_ends_cleanly() -> None:
    mark = os.getpid() * 10 + 2
    child = subprocess.Popen(
        [*DEMO, "--rate", "200"], env=marked(mark), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert any(line.startswith("broker") for line in iter(child.stdout.readline, ""))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, out + err
    assert "Traceback" not in err
    deadline = time.monotonic() + 10
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def test_demo_of_change_data_ends_with_equal_sides_and_leaves_nothing_running() -> None:
    mark = os.getpid() * 10 + 3
    done = subprocess.run(
        [*DEMO, "cdc", "--seconds", "15", "--rate", "300"],
        env=marked(mark),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    changes = re.findall(r"([\d,]+) rows inserted, updated and deleted in the source", done.stdout)[0]
    rows = re.findall(r"source and copy are equal: ([\d,]+) rows in 2 tables, checksum \w{8}$", done.stdout, re.M)[0]
    assert int(changes.replace(",", "")) > 1000
    assert int(rows.replace(",", "")) > 6000
    assert "Traceback" not in done.stderr
    assert marked_processes(mark) == []
