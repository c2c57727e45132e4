"""Log lines as they reach the descriptor."""

import json
import subprocess
import sys

WRITE = """
import os, sys
from ingestd import logs
logs.configure("info", sys.argv[1], "here", lambda text: text.replace("hidden", "***"))
log = logs.get_logger()
"""


def written(form: str, statements: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-c", WRITE + statements, form], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout == ""
    return answer.stderr


def test_json_line_holds_event_level_process_and_fields() -> None:
    (line,) = written("auto", 'log.info("partition\\nhalted", partition=3)').splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["process"], event["partition"]) == (
        "partition\nhalted",
        "info",
        "here",
        3,
    )


def test_human_event_is_one_line() -> None:
    assert len(written("human", 'log.info("a\\nb", reason="c\\nd")').splitlines()) == 1


def test_secrets_are_hidden_in_values_lists_errors_and_libraries() -> None:
    statements = """
log.info("hidden", a="hidden", b=["hidden"], c={"k": "hidden"}, d=ValueError("hidden"))
try: raise ValueError("hidden")
except ValueError: log.exception("failed")
import logging
logging.getLogger("library").warning("with %s", "hidden")
"""
    for form in ("json", "human"):
        text = written(form, statements)
        # A traceback quotes our source line, which is no secret of a configuration; the value is.
        assert "hidden" not in text.replace('raise ValueError("hidden")', "")
        assert text.count("***") >= 7


def test_lower_levels_are_left_out() -> None:
    assert written("json", 'log.debug("quiet")') == ""


def test_closed_or_broken_log_does_not_end_the_process() -> None:
    closed = "os.close(2); log.info('lost'); os.write(1, b'alive')"
    gone = "r, w = os.pipe(); os.dup2(w, 2); os.close(r); os.close(w); log.info('lost'); os.write(1, b'alive')"
    for statements in (closed, gone):
        answer = subprocess.run([sys.executable, "-c", WRITE + statements, "json"], capture_output=True, timeout=60)
        assert answer.stdout == b"alive"


def test_lines_of_several_processes_do_not_mix() -> None:
    text = written("json", "os.fork(); os.fork()\nfor i in range(500): log.info('x' * 300, i=i)\n")
    events = [json.loads(line) for line in text.splitlines()]
    assert len(events) >= 500
