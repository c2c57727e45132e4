"""What the store's URL says without a driver: whether it is an SQLite file, and which. Opens nothing."""

import os

_SCHEME = "sqlite:"


def is_sqlite_url(url: str) -> bool:
    """Whether `url` (a Secret or a plain text) names an SQLite file, right or wrong."""
    return str.__str__(url)[: len(_SCHEME)].lower() == _SCHEME


def sqlite_path(url: str) -> str:
    """The path in an SQLite URL that was checked: relative after three slashes, absolute after four."""
    return str.__str__(url)[len(_SCHEME) + 3 :]


def sqlite_lock_path(path: str) -> str:
    """The file beside the database that daemon and workers lock: locks on the database itself are SQLite's own."""
    return f"{os.path.realpath(path)}.ingestd-lock"
