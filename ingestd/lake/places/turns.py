"""Turns of processes at one lake's directories: settling shares them, an exchange has them alone. Knows no files.

The lock is the kernel's (flock): whoever dies gives it back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ingestd.lake.place import Place
from ingestd.lake.places.faults import faults

_RETRY_SECS = 0.005


@contextlib.contextmanager
def shared(place: Place, patience_secs: float = 0.5) -> Iterator[bool]:
    """True while no directory can be exchanged; False when that is being done: settle later."""
    with _locked(place, fcntl.LOCK_SH, patience_secs) as got:
        yield got


@contextlib.contextmanager
def alone(place: Place, patience_secs: float = 10.0) -> Iterator[bool]:
    """True while nobody settles; False when others did for so long. Hold it for milliseconds."""
    with _locked(place, fcntl.LOCK_EX, patience_secs) as got:
        yield got


@contextlib.contextmanager
def _locked(place: Place, operation: int, patience_secs: float) -> Iterator[bool]:
    if place.lock is None:
        yield True
        return
    with faults(f"{place.lock}: lock"):
        place.lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        yield _acquire(descriptor, operation, time.monotonic() + patience_secs)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, operation: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_SECS)
