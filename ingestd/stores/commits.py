"""The order of the one transaction, and what an error in it leads to, for every store alike. Knows no database."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import structs

from ingestd.batch import Tile
from ingestd.errors import Halt, IngestdError, LeaseLost
from ingestd.stores.faults import RowsRefused, UnknownFault
from ingestd.stores.store import LedgerKey, Transaction


@contextmanager
def committing(
    tx: Transaction, tiles: Sequence[Tile], move: Callable[[Tile], None], commit: Callable[[], None]
) -> Iterator[Transaction]:
    """Lets the body write, then moves the cursors over `tiles`, then commits; times both.

    The cursors move last, in partition order: a zombie finds no row and rolls back.
    """
    began = time.perf_counter_ns()
    yield tx
    for tile in sorted(tiles):
        move(tile)
    tx.write_ns = (wrote := time.perf_counter_ns()) - began
    commit()
    tx.commit_ns = time.perf_counter_ns() - wrote
    for tile in tiles:
        tx.replay_below[tile.partition] = max(tx.replay_below.get(tile.partition, 0), tile.end)


def moved_values(key: LedgerKey, tx: Transaction, tile: Tile, epoch: int) -> dict[str, Any]:
    """The values of the statement `move_cursor`: whose cursor, over what, and what became of its records."""
    return key.params(
        partition=tile.partition,
        start=tile.start,
        end=tile.end,
        epoch=epoch,
        dead_again=tx.dead_again.get(tile.partition, 0),
        **structs.asdict(tx.counts[tile.partition]),
    )


def require_moved(rows: int, key: LedgerKey, tile: Tile, epoch: int) -> None:
    """Raises: LeaseLost when `move_cursor` found no row of this epoch at the start of the tile."""
    if rows != 1:
        raise LeaseLost(f"{key.topic}-{tile.partition}: the cursor is no longer ours at {tile.start} (epoch {epoch})")


@contextmanager
def deciding(
    driver_error: type[Exception], decide: Callable[[Any, bool], IngestdError], roll_back: Callable[[bool], None]
) -> Iterator[list[str]]:
    """Turns the driver's errors into decisions and leaves no transaction open behind any error.

    Yields a list that the body puts a word in before COMMIT; `decide` is given the error and whether COMMIT raised it,
    `roll_back` whether to keep the connection.
    """
    phase: list[str] = []
    try:
        yield phase
    except driver_error as error:
        # No local name for what is raised: frame and exception would keep each other, and the batch, alive.
        raise _rolled_back(decide(error, bool(phase)), roll_back) from error
    except IngestdError:
        roll_back(True)
        raise
    except BaseException:
        roll_back(False)
        raise


def _rolled_back(decision: IngestdError, roll_back: Callable[[bool], None]) -> IngestdError:
    """The connection is kept where it is still good.

    UnknownFault: the isolation goes on in this session, the one that the next claim knows to end.
    """
    roll_back(isinstance(decision, RowsRefused | Halt | UnknownFault))
    return decision
