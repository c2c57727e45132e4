"""Dead letters as they are looked at, sent again, dropped and passed on, for every store alike. Knows no database.

`ingestd.stores.postgres.letters` and `ingestd.stores.sqlite.letters` are the boxes and outboxes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, Protocol

from msgspec import Struct, field

from ingestd.batch import Counts, Headers
from ingestd.stores.store import Transaction

Purpose = Literal["forwarded", "exported"]
"""forwarded: to the topic; exported: to Parquet. A letter has a time for each, or still waits."""


class Letter(Struct, frozen=True):
    """One stored dead letter, whole."""

    id: int
    topic: str
    topic_id: str
    partition: int
    offset: int
    key: bytes | None
    payload: bytes | None
    headers: Headers
    record_time_ms: int | None
    """Timestamp of the record, ms UTC."""
    stage: str
    column: str | None
    reason: str
    sqlstate: str | None
    dead_at: datetime
    """In UTC."""


class Wanted(Struct, frozen=True):
    """Which letters of a pipeline: all conditions together; an empty one does not choose."""

    ids: tuple[int, ...] = ()
    stage: str | None = None
    column: str | None = None
    sqlstate: str | None = None
    reason: str | None = None
    """Part of the reason, in any case of letters."""
    partitions: tuple[int, ...] = ()
    offset_start: int | None = None
    offset_end: int | None = None
    """The first offset that is not wanted any more."""
    since: datetime | None = None
    until: datetime | None = None
    """Times at which letters were written; `until` itself is not wanted any more."""
    where: str | None = None
    """A condition in the store's own SQL over the columns of the dead letters."""
    limit: int | None = None
    newest: bool = False
    """The newest first, so that `limit` keeps those; else the oldest first."""


class Group(Struct, frozen=True):
    """Letters refused for one reason."""

    stage: str
    column: str | None
    sqlstate: str | None
    reason: str
    letters: int
    first_at: datetime
    last_at: datetime


class Left(Struct):
    """Letters of one partition that leave the box in a transaction."""

    redriven: int = 0
    dropped: int = 0
    fates: Counts = field(default_factory=Counts)
    """What became of the redriven ones; `records` and `dead` stay at 0."""


class DeadLetterBox(Protocol):
    """The dead letters of one pipeline. Raises what `Store` raises, and ConfigError for a wrong `Wanted.where`."""

    def find(self, wanted: Wanted) -> list[int]:
        """The ids of the letters that are wanted. `where` is asked in a read-only transaction."""
        ...

    def groups(self, wanted: Wanted) -> list[Group]:
        """The wanted letters by reason, the most frequent first."""
        ...

    def read(self, ids: Sequence[int], max_bytes: int | None = None) -> list[Letter]:
        """These letters by id; those that are gone are left out.

        With `max_bytes` the first of them, as many as fit by their payloads, and one at least.
        """
        ...

    def lock(self, ids: Sequence[int], tx: Transaction) -> dict[int, int]:
        """id -> partition of the letters that are there and that no other transaction has, now locked by `tx`."""
        ...

    def remove(self, ids: Sequence[int], left: dict[int, Left], tx: Transaction) -> None:
        """Delete locked letters, and count in the ledger, by partition, how they left. Last before the commit."""
        ...


class Outbox(Protocol):
    """Letters of one pipeline on their way out of the database; each call is a transaction of its own."""

    def prepare(self) -> None:
        """Make what finding the waiting letters quickly needs."""
        ...

    def waiting(self, purpose: Purpose, limit: int, max_bytes: int) -> list[Letter]:
        """The oldest letters that wait, `limit` at most; no more than fit `max_bytes` of payload, but one."""
        ...

    def mark(self, purpose: Purpose, ids: Sequence[int]) -> None:
        """These letters wait no longer."""
        ...
