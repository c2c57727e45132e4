"""When refusing records must stop."""

from bisect import bisect_left

import pytest

from ingestd.batch import dead_letter
from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.worker.limits import DeadLetterLimit
from tests.sinks.contracts import MemoryRecord


def _limit(max_ratio: float = 0.05, max_run: int = 1000) -> DeadLetterLimit:
    return DeadLetterLimit(cfg.DeadLetters(max_ratio=max_ratio, max_run=max_run), "p", "orders-3")


class Log:
    """Feeds batches: "." is a good record, "x" a refused one, "_" a hole."""

    def __init__(self, limit: DeadLetterLimit):
        self._limit = limit
        self._at = 0

    def feed(self, batch: str, commit: bool = True) -> None:
        places = range(self._at, self._at + len(batch))
        good = [n for n in places if batch[n - self._at] == "."]
        dead = [dead_letter(MemoryRecord(b"", n), "decode", None, "bad") for n in places if batch[n - self._at] == "x"]
        self._limit.check(len(good), dead, lambda offset: bisect_left(good, offset), 3, self._at)
        if commit:
            self._limit.commit()
            self._at += len(batch)


def test_ratio_counts_from_a_hundred_records() -> None:
    log = Log(_limit())
    log.feed("x" * 50 + "." * 49)
    with pytest.raises(Halt) as halt:
        log.feed(".")
    assert "orders-3: 50 of the last 100 records" in str(halt.value)
    assert "before offset 99 of pipeline p" in str(halt.value)
    assert halt.value.partitions == (3,)


def test_ratio_may_be_reached_but_not_exceeded() -> None:
    log = Log(_limit())
    log.feed("x" * 5 + "." * 95)
    with pytest.raises(Halt):
        log.feed("x")


def test_ratio_looks_at_the_last_ten_thousand_records() -> None:
    log = Log(_limit())
    log.feed("." * 9_000)
    log.feed("x" * 400 + "." * 600)
    log.feed("." * 9_000)
    log.feed("." * 1_000)
    with pytest.raises(Halt):
        log.feed("x" * 527)
    log.feed("x" * 526)


def test_batch_that_was_not_committed_does_not_count() -> None:
    log = Log(_limit(max_run=10))
    for _ in range(20):
        log.feed("x" * 9, commit=False)
    log.feed("." * 200)
    log.feed("x" * 10)


def test_run_goes_on_over_batches_and_holes() -> None:
    log = Log(_limit(max_ratio=1.0, max_run=5))
    log.feed("..xx")
    log.feed("__")
    log.feed("x_x")
    log.feed("x")
    with pytest.raises(Halt) as halt:
        log.feed("x")
    assert "6 records in a row were refused (max_run = 5)" in str(halt.value)


def test_good_record_ends_a_run() -> None:
    log = Log(_limit(max_ratio=1.0, max_run=3))
    for batch in ("xxx.", "xx", ".", "xxx", ".xxx", "_.", "xxx.xxx"):
        log.feed(batch)
    with pytest.raises(Halt):
        log.feed("x")


def test_longest_run_inside_a_batch_is_found() -> None:
    with pytest.raises(Halt):
        Log(_limit(max_ratio=1.0, max_run=3)).feed("..xxxx...x")


def test_new_limit_after_a_restart_begins_anew() -> None:
    Log(_limit(max_run=3, max_ratio=1.0)).feed("xxx")
    Log(_limit(max_run=3, max_ratio=1.0)).feed("xxx")


def test_tiles_without_records_are_not_remembered() -> None:
    """A topic of aborted transactions would fill the memory."""
    limit = _limit()
    log = Log(limit)
    log.feed(".")
    for _ in range(1_000):
        log.feed("_")
    assert len(limit._window) <= 2


def test_halt_does_not_hide_what_the_records_were_refused_for() -> None:
    reasons = [("v", "expected int, got str"), (None, "empty value"), ("v", "expected int, got str")]
    dead = [dead_letter(MemoryRecord(b"", 7 + n), "decode", *reason) for n, reason in enumerate(reasons)]
    with pytest.raises(Halt, match=r"most often for: column v: expected int, got str \(first at offset 7\); stopped"):
        _limit(max_run=2).check(0, dead, lambda offset: 0, 3, 0)
