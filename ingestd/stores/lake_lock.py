"""Who alone may merge and remove files of a lake. Knows no database.

`ingestd.stores.postgres.lake_lock` and `ingestd.stores.sqlite.lake_lock` are the locks.
"""

from typing import Any, Protocol


class LakeLock(Protocol):
    """One pipeline's; taken for a while, by the keeper's duties and by `ingestd lake compact` alike."""

    def take(self) -> str | None:
        """None: this process has it until `release`. Else who has it, for a message. Raises: Retryable, Halt."""
        ...

    def require(self, connection: Any) -> None:
        """Raises: Retryable when what was taken is lost: `connection`, which is about to commit, must not."""
        ...

    def release(self) -> None:
        """No error when it was lost, or never taken."""
        ...
