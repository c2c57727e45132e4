"""Pauses between attempts."""

import pytest

from ingestd.backoff import backoff_secs


@pytest.mark.parametrize(("failures", "whole"), [(1, 0.4), (2, 0.8), (5, 6.4), (6, 10.0), (10_000, 10.0)])
def test_a_pause_doubles_up_to_the_longest_and_only_its_last_half_is_random(failures: int, whole: float) -> None:
    pauses = {backoff_secs(0.4, failures, 10.0) for _ in range(100)}
    assert len(pauses) > 1, "hosts that failed together would come back together"
    assert whole / 2 <= min(pauses) <= max(pauses) <= whole
