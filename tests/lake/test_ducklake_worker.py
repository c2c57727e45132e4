"""A real worker that keeps a DuckLake catalogue, killed on its way, and a real DuckDB that asks all the while."""

import signal
import threading

import pytest

from ingestd import cli
from tests.fix_servers import Produce
from tests.lake.conftest import MakeFlow
from tests.lake.ducklake_reader import Reader
from tests.lake.flow import records
from tests.lake.test_ducklake import attached, snapshots

COUNT = 2_300
ROWS = "SELECT count(id + 0), count(DISTINCT id), max(id) + 1 FROM l.p"


class Asking:
    """Asks in a thread of its own until `stop`; what it was told, errors aside."""

    def __init__(self, reader: Reader):
        self.counts: list[int] = []
        self.wrong: list[object] = []
        self._reader = reader
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            found = self._reader.ask(ROWS)
            if isinstance(found, str):
                if "No such file" not in found and "does not exist" not in found:
                    self.wrong.append(found)
                continue
            rows, distinct, highest = found[0]
            if rows != distinct or rows != (highest or 0):
                self.wrong.append(found)
            self.counts.append(rows)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("step", ["added", "committed", "published"])
def test_every_answer_is_a_state_that_was_committed(flow: MakeFlow, produce: Produce, step: str) -> None:
    one = flow()
    one.pipeline["lake"]["ducklake"] = "catalogue"
    produce(one.topic, records(0, 1))
    first = one.start()
    first.until(lambda: one.cursors("table") == {0: 1})
    one.stop(first)
    with attached(one.url) as reader:
        asking = Asking(reader)
        try:
            produce(one.topic, records(1, COUNT - 1))
            killed = one.start(patch=f"tests.lake.crashes:kill_at:{step}")
            assert killed.exit_code(60) == -signal.SIGKILL, killed.errors
            worker = one.start()
            worker.until(lambda: one.cursors("table") == {0: COUNT})
            one.stop(worker)
        finally:
            asking.stop()
        assert asking.wrong == []
        assert asking.counts == sorted(asking.counts)
        assert reader.rows(ROWS) == [[COUNT, COUNT, COUNT]]
        numbers = snapshots(reader)[1:]
        at = [reader.rows(f"{ROWS} AT (VERSION => {number})")[0][0] for number in numbers]
        ends = [row[0] for row in one.ask("SELECT DISTINCT range_end FROM LEDGER.lake_files ORDER BY 1")]
        assert at == ends
        assert cli.main(["lake", "compact", "--config", one.file()]) == 0
        assert reader.rows(ROWS) == [[COUNT, COUNT, COUNT]]
        assert len(snapshots(reader)) == len(numbers) + 2, "one snapshot for what was merged"
    one.check()
