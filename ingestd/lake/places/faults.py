"""What an error of the operating system means for a partition: wait, or ask a person. Knows no files."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from ingestd.errors import Halt, IngestdError, Retryable

_FOR_A_PERSON = {
    errno.EACCES: "this user may not; give it the right, or run ingestd as its owner",
    errno.EPERM: "this user may not; give it the right, or run ingestd as its owner",
    errno.EROFS: "the file system is read-only; mount it for writing",
    errno.ENOTDIR: "a file is where a directory should be; move it away",
    errno.EEXIST: "something is where a directory should be; move it away",
    errno.EISDIR: "a directory is where a file should be; move it away",
    errno.ENAMETOOLONG: "the path is too long for this file system; take a shorter lake.path or fewer partitions",
    errno.ELOOP: "symbolic links go in a circle; mend them",
}
_FOR_LATER = {
    errno.ENOSPC: "the disk is full; free some space, the partition waits and goes on by itself",
    errno.EDQUOT: "the disk quota is used up; raise it or free some space, the partition waits and goes on by itself",
    errno.EIO: "the disk reports an error; look at the kernel's log, the partition waits and tries again",
    errno.ESTALE: "the file system was mounted anew; the partition waits and tries again",
    errno.EMFILE: "too many open files; lower lake.max_open_files or raise the limit (ulimit -n)",
    errno.ENFILE: "the host has too many open files; the partition waits and tries again",
}


def fault(error: OSError, what: str) -> IngestdError:
    """The decision on `error`, which came when `what` was done: "lake/x.parquet: write". Raise it from `error`."""
    number = error.errno or 0
    if number in _FOR_A_PERSON:
        return Halt(f"{what}: {_FOR_A_PERSON[number]}")
    return Retryable(f"{what}: {_FOR_LATER.get(number, f'{error.strerror or error}; the partition waits')}")


@contextlib.contextmanager
def faults(what: str) -> Iterator[None]:
    """Raises: Retryable or Halt for what the operating system refuses inside."""
    try:
        yield
    except OSError as error:
        raise fault(error, what) from error
