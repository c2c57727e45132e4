"""Showing how far a run is: a bar on a terminal, a plain line every two seconds otherwise. Knows nothing of Kafka."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY_SECS = 2.0


@contextmanager
def shown(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with the number done so far; it may be called thousands of times a second."""
    if sys.stderr.isatty():
        with _bar(title, total) as update:
            yield update
    else:
        yield _Lines(title, total).update


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as progress:
        task = progress.add_task(title, total=total, rate="")
        rate = _Rate(0.2)

        def update(done: int) -> None:
            per_sec = rate.after(done)
            if per_sec is not None:
                progress.update(task, completed=done, rate=f"{per_sec:,.0f}/s")

        yield update


class _Rate:
    """Rate since the last time it was asked for, at most once in `every_secs`."""

    def __init__(self, every_secs: float):
        self._every = every_secs
        self._at = time.monotonic()
        self._done = 0

    def after(self, done: int) -> float | None:
        """The rate now, or None when it is not time yet."""
        now = time.monotonic()
        if now - self._at < self._every:
            return None
        per_sec = (done - self._done) / (now - self._at)
        self._at, self._done = now, done
        return per_sec


class _Lines:
    def __init__(self, title: str, total: int | None):
        self._title = title
        self._total = total
        self._rate = _Rate(EVERY_SECS)

    def update(self, done: int) -> None:
        per_sec = self._rate.after(done)
        if per_sec is not None:
            of = f" of {self._total:,}" if self._total else ""
            print(f"{self._title}: {done:,}{of}, {per_sec:,.0f}/s", file=sys.stderr, flush=True)
