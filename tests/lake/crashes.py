"""Steps of a roll at which a worker is killed, and faults of its disk; patched into the worker's own process."""

import errno
import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

STEPS = ("writing", "sealed", "added", "committed", "half_published", "published", "settled")
"""In the order in which a roll takes them."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, at_call: int, before: bool) -> None:
    """Die before or after the call of this number."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = itertools.count(1)

    def replaced(*args: Any, **more: Any) -> Any:
        number = next(calls)  # several files are published at once, by threads
        if before and number == at_call:
            _die()
        found = real(*args, **more)
        if not before and number == at_call:
            _die()
        return found

    setattr(owner, name, replaced)


def kill_at(step: str) -> None:
    """Die in the second roll, at this step."""
    from ingestd.lake.places.local import LocalPlace
    from ingestd.lake.writing.files import OpenFiles
    from ingestd.stores.postgres.manifest import PostgresManifest
    from ingestd.stores.sqlite.manifest import SqliteManifest

    manifests = (PostgresManifest, SqliteManifest)
    match step:
        case "writing":  # each roll has files of three directories
            _around(OpenFiles, "finish", 4, before=True)
        case "sealed" | "added":
            for manifest in manifests:
                _around(manifest, "add", 2, before=step == "sealed")
        case "committed" | "half_published":
            _around(LocalPlace, "publish", 4, before=step == "committed")
        case "published" | "settled":
            for manifest in manifests:
                _around(manifest, "mark_settled", 2, before=step == "published")
        case _:
            raise AssertionError(step)


def kill_at_s3(step: str) -> None:
    """Die in the second roll to a bucket, when files are "uploaded", "committed", or "copied" and not yet deleted."""
    from ingestd.lake.places.s3 import S3Place
    from ingestd.stores.postgres.manifest import PostgresManifest
    from ingestd.stores.sqlite.manifest import SqliteManifest

    match step:  # each roll has files of three directories
        case "uploaded":
            for manifest in (PostgresManifest, SqliteManifest):
                _around(manifest, "add", 2, before=True)
        case "committed":
            _around(S3Place, "publish", 4, before=True)
        case "copied":
            _around(S3Place, "remove", 4, before=True)
        case _:
            raise AssertionError(step)


def full_disk(marker: str) -> None:
    """Writing fails for want of space as long as the file `marker` is there."""
    from ingestd.lake.places.faults import fault
    from ingestd.lake.writing.files import OpenFiles

    real: Callable[..., Any] = OpenFiles.write

    def write(*args: Any, **more: Any) -> Any:
        if os.path.exists(marker):
            raise fault(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "write")
        return real(*args, **more)

    setattr(OpenFiles, "write", write)  # noqa: B010
