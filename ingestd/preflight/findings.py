"""A finding of `ingestd check`. Knows no servers."""

from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    """How a finding ends: only FAIL keeps ingestd from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(Struct, frozen=True):
    """One line of the answer."""

    state: State
    subject: str
    """What was looked at: "broker", "topic sales", "login" .."""
    message: str
    mend: str = ""
    """What to do next: a sentence, a command or a statement; "" when there is nothing to do."""
    configuration: bool = False
    """Whether the file is at fault, and not a server."""

    def line(self) -> str:
        """The finding for a terminal."""
        mend = f"; {self.mend}" if self.mend else ""
        return f"{self.state.value:<4}  {self.subject}: {self.message}{mend}"
