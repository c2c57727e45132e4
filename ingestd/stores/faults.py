"""What a transaction raises when rows are at fault, for every store alike. Knows no database."""

from msgspec import Struct

from ingestd.batch import DeadLetter
from ingestd.errors import IngestdError, Retryable


class RowFault(Struct, frozen=True):
    """Why rows were refused; kept where the exception, with its frames and their batch, must not be."""

    sqlstate: str
    reason: str
    at_commit: bool
    """Whether COMMIT raised it: a deferred constraint, which no way in can find."""


class RowsRefused(IngestdError):
    """The transaction was rolled back because of at least one row; the next way in must find it."""

    def __init__(self, fault: RowFault):
        super().__init__(f"{fault.sqlstate}: {fault.reason}")
        self.fault = fault


class RecordsRefused(IngestdError):
    """These records, and no others, are refused: roll back and redo the batch with them as dead letters.

    A sink raises it where a refused record must leave nothing behind: no key in a gate, no place in a fold.
    """

    def __init__(self, dead: list[DeadLetter]):
        super().__init__(f"{len(dead)} records refused")
        self.dead = dead


class UnknownFault(Retryable):
    """An error that the table of errors does not know; retried, then isolated record by record."""
