"""Dead letters into ingestd_dead_letters, in the transaction that moves the cursor over them. Knows no decoding."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ingestd.batch import DeadLetter
from ingestd.stores.letter_columns import YEARS_1_TO_9999_MS, headers_json, storable
from ingestd.stores.sqlite.file import SQL
from ingestd.stores.store import LedgerKey, Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_dead_letters(
    letters: Sequence[DeadLetter], tx: Transaction, key: LedgerKey, topic_ids: dict[int, str]
) -> None:
    """Write `letters`, and count those that replace one in `tx.dead_again`.

    `topic_ids` by partition tell a re-created topic's offsets apart.
    """
    again = Counter(tx.dead_again)
    for letter in letters:
        values = key.params(
            topic_id=topic_ids[letter.partition],
            partition=letter.partition,
            offset=letter.offset,
            record_key=letter.key,
            payload=letter.payload,
            headers=headers_json(letter.headers),
            record_time=_iso_time(letter.timestamp_ms),
            stage=letter.stage,
            column_name=letter.column,
            reason=storable(letter.reason),
            sqlstate=letter.sqlstate,
        )
        if tx.cursor.execute(SQL["has_dead_letter"], values).fetchone():
            again[letter.partition] += 1
        tx.cursor.execute(SQL["insert_dead_letter"], values)
    tx.dead_again = dict(again)


def _iso_time(time_ms: int) -> str | None:
    """ISO-8601 in UTC, milliseconds; None for what a producer may send and is no date."""
    if time_ms == -1 or time_ms not in YEARS_1_TO_9999_MS:
        return None
    at = _EPOCH + timedelta(milliseconds=time_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
