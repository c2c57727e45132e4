"""How far behind a partition is, in records and in seconds. Pure: no clock, no board, no Kafka."""


def lag_records(next_offset: int, log_end: int) -> int | None:
    """Records between the committed cursor and the log end.

    None when either is unknown (negative). The log end is sampled, so the cursor may be ahead of it: that is 0.
    """
    if next_offset < 0 or log_end < 0:
        return None
    return max(0, log_end - next_offset)


def lag_secs(
    records: int | None, now_ms: int, last_record_ms: int, claimed_at_ms: int, caught_up_at_ms: int = 0
) -> float | None:
    """How old the data in the table is, in seconds: 0 when caught up.

    Otherwise the time since the newest committed record (`last_record_ms`, Kafka's timestamp), or since the
    claim when nothing was committed yet. What waits arrived after the partition was last seen caught up
    (`caught_up_at_ms`), so the first record after a quiet night does not show a night of lag.
    None when the lag in records is unknown. Milliseconds since the epoch; 0 means "never".
    """
    if records is None:
        return None
    if records == 0:
        return 0.0
    since_ms = max(last_record_ms or claimed_at_ms, caught_up_at_ms)
    return max(0, now_ms - since_ms) / 1000
