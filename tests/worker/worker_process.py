"""A worker without its supervisor: runs as a process, prints its lanes as JSON lines whenever they change.

Reads {"config": .., "partitions": [..], "patch": ".."} as JSON on standard input; exits with the worker's code. `patch`
is "module:function:argument": called before the worker starts, to make faults in its process. With several "topics"
the worker carries partition 0 of each, and the number of a topic in that list stands where a partition's would.
"""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ingestd import logs
from ingestd.board import Board, Lane, LaneState, SlotCell, read_text, take_lane
from ingestd.config import options as cfg
from ingestd.planning import Part, WorkerPlan

_ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """The process seen from the test; `lanes[partition]` is the latest that it printed."""

    def __init__(self, config: dict[str, Any], partitions: list[int], patch: str = "", topics: Sequence[str] = ()):
        self.lanes: dict[int, dict[str, Any]] = {}
        self.states: dict[int, list[str]] = {partition: [] for partition in partitions}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.worker.worker_process"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        asked = {"config": config, "partitions": partitions, "patch": patch, "topics": list(topics)}
        self.process.stdin.write(json.dumps(asked))
        self.process.stdin.close()
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._listen, self._listen_errors)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            lane = json.loads(line)
            partition = lane["partition"]
            self.lanes[partition] = lane
            if self.states[partition][-1:] != [lane["state"]]:
                self.states[partition].append(lane["state"])

    def _listen_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += list(self.process.stderr)

    def until(self, condition: Callable[[], object], secs: float = 30) -> None:
        """Wait for it; fails with what the worker said."""
        deadline = time.monotonic() + secs
        while not condition():
            assert self.process.poll() is None, f"ended: {self.lanes} {self.errors}"
            assert time.monotonic() < deadline, f"never held: {self.lanes} {self.errors}"
            threading.Event().wait(0.02)

    def exit_code(self, secs: float = 30) -> int:
        code = self.process.wait(secs)
        for thread in self._threads:
            thread.join(5)
        return code

    def end(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.exit_code()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def _print_lanes(board: Board, lanes: dict[int, int], slot: int) -> None:
    before: dict[int, str] = {}
    while True:
        for partition, lane in lanes.items():
            cells = board.lane(lane)
            line = json.dumps(
                {
                    "partition": partition,
                    "state": LaneState(cells[Lane.STATE]).name,
                    "next_offset": cells[Lane.NEXT_OFFSET],
                    "records": cells[Lane.RECORDS],
                    "batches": cells[Lane.BATCHES],
                    "lake_offset": cells[Lane.LAKE_OFFSET],
                    "lake_rows": cells[Lane.LAKE_ROWS],
                    "lake_open_rows": cells[Lane.LAKE_OPEN_ROWS],
                    "text": read_text(board, lane),
                    "has_beaten": board.slot(slot, SlotCell.BEAT_NS) > 0,
                }
            )
            if before.get(partition) != line:
                before[partition] = line
                print(line, flush=True)
        threading.Event().wait(0.01)


def main() -> None:
    from ingestd.worker.process import run_worker

    asked = json.load(sys.stdin)
    config = msgspec.convert(asked["config"], cfg.Config, dec_hook=lambda kind, value: kind(value))
    logs.configure("info", "json", "worker")
    if asked["patch"]:
        module, function, argument = asked["patch"].split(":")
        getattr(importlib.import_module(module), function)(argument)
    board = Board()
    if asked["topics"]:
        lanes = {number: take_lane(board, 0, topic, 0) for number, topic in enumerate(asked["topics"])}
        parts = [Part(topic, (0,), {0: lanes[number]}) for number, topic in enumerate(asked["topics"])]
    else:
        topic = config.pipeline[0].topic
        lanes = {partition: take_lane(board, 0, topic, partition) for partition in asked["partitions"]}
        parts = [Part(topic, tuple(asked["partitions"]), lanes)]
    threading.Thread(target=_print_lanes, args=(board, lanes, 8), daemon=True).start()
    code = run_worker(config, WorkerPlan(8, 0, tuple(parts)), board)
    threading.Event().wait(0.1)  # the printer's last turn
    os._exit(code)


if __name__ == "__main__":
    main()
