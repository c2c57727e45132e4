"""Which decision a PostgreSQL error asks for: one table of SQLSTATEs. Knows nothing of rows or Kafka.

Classes are from appendix A of the PostgreSQL manual ("PostgreSQL Error Codes").
"""

import re
from enum import Enum

import psycopg

from ingestd.errors import Halt, IngestdError, Retryable
from ingestd.stores.faults import RowFault, RowsRefused, UnknownFault


class Verdict(Enum):
    """What a database error says about the batch."""

    RECORD = "record"
    """One or more rows are at fault: find them, dead-letter them, go on."""
    RETRY = "retry"
    """The environment is at fault: roll back, wait, claim again."""
    HALT = "halt"
    """Only a person can mend it: no privilege, no table, wrong login."""
    UNKNOWN = "unknown"
    """Retry; when it repeats, try record by record and halt at the one that fails."""


_EXACT = {
    "P0001": Verdict.RECORD,  # RAISE in a trigger
    "21000": Verdict.RECORD,  # cardinality violation
    "54000": Verdict.RECORD,  # oversized index key
    "54001": Verdict.RECORD,  # too deep (stack depth), e.g. nested jsonb
    "25006": Verdict.RETRY,  # read-only: a standby during a failover
}
_CLASS = {
    "22": Verdict.RECORD,  # data exception
    "23": Verdict.RECORD,  # integrity constraint violation
    "44": Verdict.RECORD,  # WITH CHECK OPTION violation
    "08": Verdict.RETRY,  # connection exception
    "25": Verdict.RETRY,  # invalid transaction state
    "40": Verdict.RETRY,  # deadlock, serialization failure
    "53": Verdict.RETRY,  # disk full, out of memory, too many connections
    "55": Verdict.RETRY,  # lock not available, object in use
    "57": Verdict.RETRY,  # shutdown, cancel, starting up
    "58": Verdict.RETRY,  # input/output error of the server
    "42": Verdict.HALT,  # no privilege, no such table or column
    "28": Verdict.HALT,  # login refused
    "3D": Verdict.HALT,  # no such database
    "3F": Verdict.HALT,  # no such schema
}

# libpq gives no SQLSTATE for a refused connection; these are the server's own words, in English (with another
# lc_messages the verdict is "retry", which is safe).
_CONNECT_HALTS = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed",
    "is not permitted to log in",
)
_DOES_NOT_EXIST = re.compile(r'(database|role) "[^"]*" does not exist')


def verdict(sqlstate: str | None) -> Verdict:
    """The decision for a SQLSTATE; None (the connection broke) means retry."""
    if sqlstate is None:
        return Verdict.RETRY
    return _EXACT.get(sqlstate) or _CLASS.get(sqlstate[:2], Verdict.UNKNOWN)


def record_fault_condition() -> str:
    """A PL/pgSQL condition on SQLSTATE that holds exactly where `verdict` says RECORD."""
    classes = ", ".join(f"'{key}'" for key, value in _CLASS.items() if value is Verdict.RECORD)
    exact = ", ".join(f"'{key}'" for key, value in _EXACT.items() if value is Verdict.RECORD)
    return f"(left(SQLSTATE, 2) IN ({classes}) OR SQLSTATE IN ({exact}))"


def first_line(error: BaseException) -> str:
    """The first line of a database error: later ones (DETAIL, CONTEXT) may quote row contents."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def connect_error(error: psycopg.Error, where: str) -> IngestdError:
    """A refused or failed connection as the error that carries the decision.

    `where` is host:port/database, without secrets.
    """
    text = " ".join(str(error).split())
    if any(words in text for words in _CONNECT_HALTS) or _DOES_NOT_EXIST.search(text):
        return Halt(
            f"PostgreSQL at {where} refuses the login: {text}; mend store.url or the role, then reload (HUP) or restart"
        )
    return Retryable(f"PostgreSQL at {where} cannot be reached: {text}")


def decide(error: psycopg.Error, where: str, at_commit: bool = False) -> IngestdError:
    """A database error of a running transaction as the error that carries the decision."""
    line = f"{error.sqlstate or 'connection lost'}: {first_line(error)}"
    match verdict(error.sqlstate):
        case Verdict.RECORD:
            return RowsRefused(RowFault(error.sqlstate or "", first_line(error), at_commit))
        case Verdict.HALT:
            mend = "mend the privilege or the table (`ingestd check` names it), then reload (HUP)"
            return Halt(f"PostgreSQL at {where} refuses: {line}; {mend}")
        case Verdict.UNKNOWN:
            return UnknownFault(f"PostgreSQL at {where}: {line}")
        case _:
            return Retryable(f"PostgreSQL at {where}: {line}")
