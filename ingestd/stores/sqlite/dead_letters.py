"""Dead letters into ingestd_dead_letters, in the transaction that moves the cursor over them. Knows no decoding."""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from ingestd.batch import DeadLetter, Tile
from ingestd.stores.letter_columns import YEARS_1_TO_9999_MS, headers_json, storable
from ingestd.stores.sqlite.file import SQL
from ingestd.stores.store import LedgerKey, Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dead_places(
    cursor: sqlite3.Cursor, key: LedgerKey, tiles: Sequence[Tile], topic_ids: Mapping[int, str]
) -> set[tuple[int, int]]:
    """(partition, offset) of the dead letters of `key` in these tiles."""
    found: set[tuple[int, int]] = set()
    for tile in tiles:
        values = key.params(
            topic_id=topic_ids[tile.partition], partition=tile.partition, start=tile.start, end=tile.end
        )
        found.update((tile.partition, row[0]) for row in cursor.execute(SQL["dead_offsets"], values))
    return found


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
