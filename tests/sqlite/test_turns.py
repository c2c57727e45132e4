"""A process that wants the file for a moment is not kept waiting by one that wants it all the time."""

import os
import time
from pathlib import Path

from ingestd.stores.sqlite_turns import Turns


def _hog(path: str, until: str) -> None:
    turns = Turns(path)
    while not os.path.exists(until):
        with turns.turn():
            time.sleep(0.02)  # a transaction; there is no pause behind it


def test_greedy_process_gives_way_after_each_transaction(tmp_path: Path) -> None:
    path, until = str(tmp_path / "lock"), str(tmp_path / "done")
    hog = os.fork()
    if hog == 0:
        try:
            _hog(path, until)
        finally:
            os._exit(0)
    try:
        turns, waited = Turns(path), []
        deadline = time.monotonic() + 10
        while not os.path.exists(path):
            assert time.monotonic() < deadline
        for _ in range(10):
            began = time.monotonic()
            with turns.turn():
                waited.append(time.monotonic() - began)
    finally:
        Path(until).touch()
        os.waitpid(hog, 0)
    # Two transactions of the other at most; a machine that is busy stretches them.
    assert sorted(waited)[5] < 0.2
