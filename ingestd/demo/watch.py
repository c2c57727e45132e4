"""Looks at the running demo from outside: its table by SQL, its status page by HTTP. Knows nothing of the screen."""

import time

import psycopg
from psycopg import errors

from ingestd.demo.load import Load
from ingestd.demo.sales_screen import Figures
from ingestd.demo.totals import totals

TABLE = "public.sales_events"


class Watch:
    """Two sources of figures that come up some time after the start; until then they are None or 0."""

    def __init__(self, database_url: str, status_url: str, load: Load):
        self._connection = psycopg.connect(database_url, autocommit=True)
        # The demo measures the daemon; parallel workers for its count would take the second core from it.
        self._connection.execute("SET max_parallel_workers_per_gather = 0")
        self._status_url = status_url
        self._load = load
        self._started = time.monotonic()
        self._last = (self._started, 0)

    def close(self) -> None:
        """Let the database go."""
        self._connection.close()

    def row_exists(self) -> bool:
        """Whether the first row is visible."""
        try:
            found = self._connection.execute(f"SELECT EXISTS (SELECT FROM {TABLE})").fetchone()
        except errors.UndefinedTable:
            return False
        return bool(found and found[0])

    def row_count(self) -> int:
        """Rows of the table."""
        return self._counted()[0]

    def look(self) -> Figures:
        """All figures now."""
        at, produced = time.monotonic(), self._load.queued
        last_at, last_produced = self._last
        self._last = (at, produced)
        rows, newest = self._counted()
        query_ms = (time.monotonic() - at) * 1000
        total = totals(self._status_url)
        return Figures(
            secs=at - self._started,
            asked_per_sec=self._load.per_sec,
            produced_per_sec=(produced - last_produced) / max(at - last_at, 1e-3),
            rows_per_sec=total.get("rows_per_sec"),
            # From both ends: the daemon looks for log ends once a second, and here lag should be seen moving.
            lag_records=max(0, produced - rows),
            backpressure=total.get("backpressure"),
            dead_letters=total.get("dead_letters"),
            row_count=rows,
            last_ts=newest,
            query_ms=query_ms,
        )

    def _counted(self) -> tuple[int, str]:
        try:
            found = self._connection.execute(f"SELECT count(*), max(ts)::text FROM {TABLE}").fetchone()
        except errors.UndefinedTable:
            return 0, "-"
        return (int(found[0]), str(found[1] or "-")) if found else (0, "-")
