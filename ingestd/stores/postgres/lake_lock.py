"""The lock of one lake in PostgreSQL: an advisory lock of the very session that commits. Knows no files.

A compactor that was stopped and lost its session has lost the lock with it, and cannot commit any more.
"""

import contextlib
from typing import Any

import psycopg

from ingestd.errors import Retryable
from ingestd.stores.store import Store

_LOCK_CLASS = 731_057_812
_HOLDER = """
SELECT coalesce(a.application_name, '?') || ', ' || coalesce(host(a.client_addr), 'this host') || ', session ' || l.pid
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid::bigint = hashtext(%s)::bigint & 4294967295
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class PostgresLakeLock:
    """See `ingestd.stores.lake_lock.LakeLock`."""

    def __init__(self, store: Store, pipeline: str):
        """`store` commits what is done under the lock."""
        self._store = store
        self._pipeline = pipeline
        self._session: Any = None

    def take(self) -> str | None:
        """None when this session has it now, else who has it."""
        self._session = None
        connection = self._store.open()
        values = (_LOCK_CLASS, self._pipeline)
        with self._store.deciding():
            got = connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", values).fetchone()[0]
            holder = None if got else connection.execute(_HOLDER, values).fetchone()
            connection.commit()
        if got:
            self._session = connection
            return None
        return str(holder[0]) if holder else "a session that is ending"

    def require(self, connection: Any) -> None:
        """Raises: Retryable when `connection` is not the session that took the lock."""
        if self._session is None or connection is not self._session:
            raise Retryable(f"lake of {self._pipeline}: the session that held its lock is gone; tried again")

    def release(self) -> None:
        """A session that is gone has given it back already."""
        session, self._session = self._session, None
        if session is None or session.closed:
            return
        with contextlib.suppress(psycopg.Error):
            session.rollback()
            session.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (_LOCK_CLASS, self._pipeline))
            session.commit()
