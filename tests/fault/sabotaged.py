"""`ingestd` built wrong on purpose: the cursor moves in a transaction of its own. First argument: before or after.

It shows that the checker of this suite can find lost and doubled records.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ingestd.batch import Counts, Tile
from ingestd.cli import main
from ingestd.stores.postgres.store import PostgresStore
from ingestd.stores.store import Transaction

ORDER = sys.argv[1]
_transaction = PostgresStore.transaction
_move = PostgresStore._move


@contextmanager
def two_transactions(self: PostgresStore, tiles: Sequence[Tile], epochs: dict[int, int]) -> Iterator[Transaction]:
    """Rows and cursors, each for itself."""
    connection = self.open()
    counts = {tile.partition: Counts() for tile in tiles}

    def move() -> None:
        with connection.cursor() as cursor:
            for tile in sorted(tiles):
                _move(self, Transaction(cursor, counts), tile, epochs[tile.partition])
        connection.commit()

    if ORDER == "before":
        move()
    with self.deciding(), connection.cursor() as cursor:
        yield Transaction(cursor, counts)
        connection.commit()
    if ORDER == "after":
        with connection.cursor() as cursor:
            # Where a defect would be, too: some time passes between the two.
            cursor.execute("SELECT pg_sleep(0.1)")
        connection.commit()
        move()


PostgresStore.transaction = two_transactions  # type: ignore[method-assign]
sys.exit(main(sys.argv[2:]))
