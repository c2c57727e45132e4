"""Dead letters into ingestd.dead_letters, in the transaction that moves the cursor over them. Knows no decoding."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from ingestd.batch import DeadLetter, Tile
from ingestd.stores.letter_columns import YEARS_1_TO_9999_MS, headers_json, storable
from ingestd.stores.postgres.statements import SQL
from ingestd.stores.store import LedgerKey, Transaction


def dead_places(
    cursor: psycopg.Cursor[Any], key: LedgerKey, tiles: Sequence[Tile], topic_ids: Mapping[int, str]
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
    """Write `letters` in one statement for each topic id, and count those that replace one in `tx.dead_again`."""
    cursor: psycopg.Cursor[Any] = tx.cursor
    again = Counter(tx.dead_again)
    for topic_id in sorted(set(topic_ids.values())):
        chosen = [letter for letter in letters if topic_ids[letter.partition] == topic_id]
        if not chosen:
            continue
        values = key.params(
            topic_id=topic_id,
            partitions=[letter.partition for letter in chosen],
            offsets=[letter.offset for letter in chosen],
            keys=[letter.key for letter in chosen],
            payloads=[letter.payload for letter in chosen],
            headers=[headers_json(letter.headers) for letter in chosen],
            times_ms=[t if (t := letter.timestamp_ms) in YEARS_1_TO_9999_MS else -1 for letter in chosen],
            stages=[letter.stage for letter in chosen],
            columns=[letter.column for letter in chosen],
            reasons=[storable(letter.reason) for letter in chosen],
            sqlstates=[letter.sqlstate for letter in chosen],
        )
        written = cursor.execute(SQL["insert_dead_letters"], values)
        again.update(partition for partition, replaced in written if replaced)
    tx.dead_again = dict(again)
