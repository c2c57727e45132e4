"""What every store offers: the ledger, the claim, and the one transaction that commits rows and cursors together.

Knows no database; `ingestd.stores.postgres.store` and `ingestd.stores.sqlite.store` are the stores.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from msgspec import Struct

from ingestd.batch import Counts, DeadLetter, Tile

TABLE_GROUP = "table"
"""The sink group of gate, table and dead letters, which commit together."""
ALL_TOPICS = "*"
"""As the topic of a key: all of the pipeline's, for boxes and outboxes of dead letters that are only read or marked."""

FirstOffsets = Callable[[list[int], bool], dict[int, tuple[int, str]]]
"""(new partitions, whether this is the first run of all) -> (offset, topic id) by partition."""


class Claimed(Struct, frozen=True):
    """One partition of a lease: where to read on, and the epoch that every commit must show."""

    partition: int
    next_offset: int
    epoch: int
    topic_id: str
    replay_below: int
    """The highest offset ever committed: records below it are replayed."""


class Transaction(Struct):
    """An open transaction: sinks write through `cursor`; `counts` by partition are stored with the cursors."""

    cursor: Any
    """The driver's cursor: psycopg's for PostgreSQL, sqlite3's for SQLite."""
    counts: dict[int, Counts]
    replay_below: dict[int, int] = {}
    """By partition: a record below it was committed before, and may change nothing that it changed then."""
    redrives: bool = False
    """Whether the records were dead letters until now: committed before, but never as rows."""
    dead_again: dict[int, int] = {}
    """By partition: dead letters that replaced one of the same record, written before a rewind."""
    write_ns: int = 0
    commit_ns: int = 0


class LedgerKey(Struct, frozen=True):
    """Whose cursors: every statement of the ledger takes these."""

    pipeline: str
    topic: str
    sink_group: str = TABLE_GROUP

    def params(self, **more: Any) -> dict[str, Any]:
        return {"pipeline": self.pipeline, "topic": self.topic, "sink_group": self.sink_group, **more}


class Store(Protocol):
    """Ledger and transactions of one worker: one connection, N partitions, one transaction with N cursor moves.

    Every method raises the decision: Retryable (close, wait, claim again), LeaseLost (exit), Halt, and, from
    `transaction`, RowsRefused (redo the batch in the next way).
    """

    def open(self) -> Any:
        """The connection, made when there is none."""
        ...

    def close(self) -> None:
        """Drop the connection and what it had not committed."""
        ...

    def prepare(self) -> None:
        """Create the ledger's tables when they are missing."""
        ...

    def claim(
        self, partitions: Sequence[int], first_offsets: FirstOffsets, held: dict[int, int] | None = None
    ) -> list[Claimed]:
        """The lease on `partitions`; `held` are the epochs of the lease that is being renewed after a fault.

        A cursor that does not stand at the end of its range was moved by hand: that range ends, another begins.
        """
        ...

    def transaction(self, tiles: Sequence[Tile], epochs: dict[int, int]) -> AbstractContextManager[Transaction]:
        """A transaction that commits what the body wrote and moves the cursors over `tiles`, or nothing."""
        ...

    def side_transaction(self, keep: bool = True) -> AbstractContextManager[Transaction]:
        """A transaction that moves no cursor and needs no claim, for what happens beside the workers.

        `counts` is empty; `replay_below` is the ledger's. With `keep=False` all is rolled back at the end, after
        whatever COMMIT would have checked was checked.
        """
        ...

    def write_dead_letters(self, letters: Sequence[DeadLetter], tx: Transaction, topic_ids: dict[int, str]) -> None:
        """Write `letters` in `tx`, and count in `tx.dead_again` those that replace one.

        `topic_ids` by partition tell a re-created topic's offsets apart.
        """
        ...

    def deciding(self) -> AbstractContextManager[object]:
        """Turns errors of the database into decisions and leaves no transaction open behind any error."""
        ...
