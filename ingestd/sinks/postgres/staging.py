"""Whether a session has the temporary tables of a sink, and for how long yet. Knows no statement."""

import time
from typing import Any

import psycopg

_REMAKE_AFTER_SECS = 24 * 3600
"""No autovacuum comes to temporary tables: an old one would hold back the freezing of transaction ids."""


class Staging:
    """The session in which staging was made last."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        self._made_at = 0.0

    def is_made(self, connection: psycopg.Connection[Any]) -> bool:
        """Whether it was made in this session, and lately enough."""
        return connection is self._connection and time.monotonic() - self._made_at < _REMAKE_AFTER_SECS

    def made(self, connection: psycopg.Connection[Any]) -> None:
        """Note that it was made in this session just now."""
        self._connection, self._made_at = connection, time.monotonic()
