"""Two directories that take each other's place in one step. Knows no lake and no lock.

Linux only, and only where the file system knows RENAME_EXCHANGE: ext4, XFS, btrfs, tmpfs, overlayfs; not NFS.
"""

import ctypes
import errno
import os
from functools import cache
from pathlib import Path
from typing import Any

from ingestd.errors import Halt
from ingestd.lake.places.faults import fault, faults

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_NO_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
MANIFEST_ONLY = 'set compact.readers = "manifest" and read with ingestd, or put the lake on a local disk'


def exchange(first: Path, second: Path) -> None:
    """Both directories change places, durably.

    Raises: Halt where the file system cannot do it; Halt or Retryable for other errors of the system.
    """
    if _renameat2()(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        error = OSError(number, os.strerror(number), str(first), None, str(second))
        if number == errno.EXDEV:
            raise Halt(f"{first}: is on another file system than the root of its lake; move it there") from error
        if number in _NO_EXCHANGE:
            raise _impossible(f"{first}: ", os.strerror(number)) from error
        raise fault(error, f"{first}: exchange with {second}") from error
    for parent in {first.parent, second.parent}:
        sync_directory(parent)


def require_exchange(scratch: Path) -> None:
    """Raises: Halt when the file system of this directory, made when missing, knows no exchange."""
    names = [scratch / f"exchange-{os.getpid()}-{n}" for n in (1, 2)]
    with faults(f"{scratch}: try an exchange"):
        try:
            for name in names:
                name.mkdir(parents=True, exist_ok=True)
            exchange(*names)
        finally:
            for name in names:
                if name.is_dir():
                    name.rmdir()


def sync_directory(path: Path) -> None:
    """The names in this directory are on the disk. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _impossible(where: str, why: str) -> Halt:
    return Halt(f"{where}this system cannot exchange two directories in one step ({why}); {MANIFEST_ONLY}")


@cache
def _renameat2() -> Any:
    library = ctypes.CDLL(None, use_errno=True)
    try:
        function = library.renameat2
    except AttributeError:  # no Linux, or a C library older than 2018
        raise _impossible("", "its C library has no renameat2") from None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function
