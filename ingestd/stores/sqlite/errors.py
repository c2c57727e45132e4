"""Which decision an SQLite error asks for: one table of its result codes. Knows nothing of rows or Kafka.

The codes: https://sqlite.org/rescode.html. A refused row is given the SQLSTATE that PostgreSQL has for the same fault,
so that dead letters read alike in every store.
"""

import sqlite3

from ingestd.errors import Halt, IngestdError, Retryable
from ingestd.stores.faults import RowFault, RowsRefused, UnknownFault

_RECORD = {
    sqlite3.SQLITE_CONSTRAINT: "23000",
    sqlite3.SQLITE_CONSTRAINT_CHECK: "23514",
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: "23503",
    sqlite3.SQLITE_CONSTRAINT_NOTNULL: "23502",
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: "23505",
    sqlite3.SQLITE_CONSTRAINT_ROWID: "23505",
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: "23505",
    sqlite3.SQLITE_CONSTRAINT_TRIGGER: "P0001",
    3091: "22P02",  # SQLITE_CONSTRAINT_DATATYPE, of STRICT tables; Python has no name for it before 3.12
    sqlite3.SQLITE_MISMATCH: "22P02",
    sqlite3.SQLITE_TOOBIG: "54000",
}
"""SQLSTATE of a refused row by extended code, else by primary code."""
_RETRY = {
    sqlite3.SQLITE_ABORT,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_SCHEMA,
}
_HALT = {
    sqlite3.SQLITE_AUTH: "mend the permission",
    sqlite3.SQLITE_CORRUPT: "restore the file from a backup, or rescue it with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_NOLFS: "the file system takes no larger file; move the database",
    sqlite3.SQLITE_NOTADB: "store.url names a file that is no SQLite database; name another",
    sqlite3.SQLITE_PERM: "mend the permission",
    sqlite3.SQLITE_READONLY_DBMOVED: "the file was moved or replaced while it was open; put it back",
}
_HALT_WORDS = ("no such table", "no such column", "has no column named", "no such function", "syntax error")
_RECORD_WORDS = {"malformed JSON": "22P02", "integer overflow": "22003", "too big": "54000", "too complex": "54001"}
"""SQLITE_ERROR has no finer codes: what expressions of CHECK, index or trigger say of a value."""


def row_sqlstate(error: sqlite3.Error) -> str | None:
    """The SQLSTATE for a row that SQLite refuses; None when the error is not about the row."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code == sqlite3.SQLITE_ERROR:
        return next((state for words, state in _RECORD_WORDS.items() if words in str(error)), None)
    return _RECORD.get(code) or _RECORD.get(code & 0xFF)


def decide(error: sqlite3.Error, path: str, at_commit: bool = False) -> IngestdError:
    """The error as the one that carries the decision; `path` is the database's."""
    code = getattr(error, "sqlite_errorcode", None)
    said = f"{getattr(error, 'sqlite_errorname', type(error).__name__)}: {' '.join(str(error).split())}"
    sqlstate = row_sqlstate(error)
    if sqlstate is not None:
        return RowsRefused(RowFault(sqlstate, said, at_commit))
    if code is None:
        return UnknownFault(f"SQLite file {path}: {said}")
    mend = _HALT.get(code) or _HALT.get(code & 0xFF)
    if mend is not None:
        return Halt(f"SQLite file {path}: {said}; {mend}, then reload (HUP)")
    if code & 0xFF in _RETRY:
        return Retryable(f"SQLite file {path}: {said}")
    if code == sqlite3.SQLITE_ERROR and any(words in str(error) for words in _HALT_WORDS):
        return Halt(f"SQLite file {path}: {said}; mend the table (`ingestd check` names it), then reload (HUP)")
    return UnknownFault(f"SQLite file {path}: {said}")
