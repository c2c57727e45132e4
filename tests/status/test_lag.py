"""Lag in records and in seconds."""

import pytest

from ingestd.status.lag import lag_records, lag_secs


@pytest.mark.parametrize(
    ("next_offset", "log_end", "expected"),
    [(10, 25, 15), (25, 25, 0), (26, 25, 0), (-1, 25, None), (10, -1, None), (0, 0, 0)],
    ids=["behind", "caught up", "log end is older", "no cursor", "no log end", "empty partition"],
)
def test_lag_in_records(next_offset: int, log_end: int, expected: int | None) -> None:
    assert lag_records(next_offset, log_end) == expected


def test_lag_time_is_zero_when_caught_up_however_old_the_newest_record_is() -> None:
    assert lag_secs(0, now_ms=9_000_000, last_record_ms=1, claimed_at_ms=1) == 0.0


def test_lag_time_is_unknown_when_lag_is() -> None:
    assert lag_secs(None, now_ms=9_000, last_record_ms=1_000, claimed_at_ms=1_000) is None


def test_lag_time_is_the_age_of_the_newest_committed_record() -> None:
    assert lag_secs(5, now_ms=9_000, last_record_ms=6_500, claimed_at_ms=1_000) == 2.5


def test_lag_time_counts_from_the_claim_when_nothing_was_committed() -> None:
    assert lag_secs(5, now_ms=9_000, last_record_ms=0, claimed_at_ms=1_000) == 8.0


def test_lag_time_after_a_quiet_night_is_not_the_night() -> None:
    night_ms = 8 * 3_600_000
    assert lag_secs(1, now_ms=night_ms, last_record_ms=1, claimed_at_ms=1, caught_up_at_ms=night_ms - 40) == 0.04


def test_lag_time_of_records_with_a_clock_ahead_is_not_negative() -> None:
    assert lag_secs(5, now_ms=9_000, last_record_ms=12_000, claimed_at_ms=1_000) == 0.0
