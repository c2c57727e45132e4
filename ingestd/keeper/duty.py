"""What the keeper's duties have in common. Knows no duty."""

from typing import Protocol


class Duty(Protocol):
    """One kind of work for one pipeline, in short turns."""

    @property
    def name(self) -> str:
        """For the log."""
        ...

    def turn(self) -> float:
        """Work for a second or so; returns after how many seconds there may be more to do, 0 for at once.

        Raises: Retryable (the environment: later again), Halt (only a person can mend it: much later again).
        """
        ...

    def close(self) -> None:
        """Leave nothing open."""
        ...
