"""Cursors as the operator sees and moves them, for every store alike. Knows no database and no Kafka."""

import getpass
import socket
from collections.abc import Mapping, Sequence

from msgspec import Struct

from ingestd.stores.store import LedgerKey


class CursorRow(Struct, frozen=True):
    """One cursor: where the ledger stands, and who holds it."""

    partition: int
    next_offset: int
    topic_id: str
    held: bool
    """Whether the session or process that claimed it is still alive."""
    held_from: str | None
    """Client address of that session, or the process."""
    updated_at: str


class Move(Struct, frozen=True):
    """A decided move of one cursor; `topic_id` is the topic's id now."""

    partition: int
    next_offset: int
    topic_id: str


Moves = Mapping[LedgerKey, Sequence[Move]]
"""Of several sink groups, in one transaction."""
NO_MOVES: Moves = {}


def ended_by(next_offset: int, rebuild: bool) -> str:
    """What the ledger notes about a range that the operator ended: what was done, and by whom."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in some containers
        user = "unknown"
    return f"{'rebuild from' if rebuild else 'reset to'} {next_offset} by {user}@{socket.gethostname()}"
