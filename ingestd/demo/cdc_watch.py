"""Looks at the change data demo from outside: both databases by SQL, the status page by HTTP. Knows no screen."""

import time

from ingestd.demo.cdc_compare import Differences, Sides, compare, differences, open_session, row_count
from ingestd.demo.cdc_screen import Figures
from ingestd.demo.cdc_shop import TABLES, Shop
from ingestd.demo.totals import totals


class CdcWatch:
    """Figures, and the comparison of both sides at rest."""

    def __init__(self, source_url: str, copy_url: str, status_url: str, shop: Shop):
        self._source = open_session(source_url)
        self._copy = open_session(copy_url)
        self._status_url = status_url
        self._shop = shop
        self._started = time.monotonic()
        self._last = (self._started, 0)
        self._said = "not compared yet"

    def close(self) -> None:
        """Let the databases go."""
        self._source.close()
        self._copy.close()

    def copied(self) -> bool:
        """Whether the first row of each table is there."""
        return all(row_count(self._copy, table) for table in TABLES)

    def look(self) -> Figures:
        """All figures now."""
        at, changes = time.monotonic(), self._shop.changes
        last_at, last_changes = self._last
        self._last = (at, changes)
        total = totals(self._status_url)
        return Figures(
            secs=at - self._started,
            asked_per_sec=self._shop.per_sec,
            changed_per_sec=(changes - last_changes) / max(at - last_at, 1e-3),
            applied_per_sec=total.get("rows_per_sec"),
            lag_records=total.get("lag_records"),
            dead_letters=total.get("dead_letters"),
            tables=[
                (table.partition(".")[2], row_count(self._source, table), row_count(self._copy, table))
                for table in TABLES
            ],
            last_comparison=self._said,
        )

    def compare(self) -> list[Sides]:
        """Both sides of each table. Says something only while nothing changes the source."""
        sides = compare(self._source, self._copy, TABLES)
        if are_equal(sides):
            self._said = f"equal at rest after {time.monotonic() - self._started:.0f} s: {described(sides)}"
        return sides

    def remember(self, said: str) -> None:
        """Show this as the last comparison."""
        self._said = said

    def differences(self) -> list[Differences]:
        """What differs now."""
        return differences(self._source, self._copy, TABLES)


def are_equal(sides: list[Sides]) -> bool:
    """Whether every table is the same on both sides."""
    return all(one.equal for one in sides)


def described(sides: list[Sides]) -> str:
    """ "12,345 rows in 2 tables, checksum 0f3c"."""
    total = sum(one.source_rows for one in sides)
    checksum = sum(one.source_sum for one in sides) % 2**32
    return f"{total:,} rows in {len(sides)} tables, checksum {checksum:08x}"
