"""The errors that carry a decision, and the exit codes that speak. Knows nothing of Kafka or databases.

IngestdError                 something the operator must read; the message says what, where, what next
|- ConfigError               the configuration is wrong: every problem at once; mend the file
|- StartupError              a needed program, download or server is missing at start
|- Retryable                 the environment's fault: wait, reconnect, claim again; nothing is skipped
|- LeaseLost                 another worker holds the partition now: roll back, exit, never claim by itself
'- Halt                      a person must decide: the partition stops here, the others run on
"""

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `ingestd` and of its workers (documented in docs/cli.md)."""

    OK = 0
    """Done, or stopped as asked."""
    CRASH = 1
    """A defect or an unexpected error; the supervisor restarts the child with backoff."""
    USAGE = 2
    """Wrong arguments or configuration; nothing was started."""
    STARTUP = 3
    """A server, download or program needed at start is missing."""
    HALTED = 4
    """At least one partition halted, or dead letters of a redrive were refused again: somebody must decide."""
    LEASE_LOST = 5
    """A worker was fenced by another one; only seen between worker and supervisor."""
    ABORTED = 6
    """Stopped by a second TERM, or a child had to be killed."""
    UNACCOUNTED = 7
    """`ingestd verify` found offsets that it cannot account for."""


class IngestdError(Exception):
    """Base of everything raised on purpose; `str()` is one line for the operator."""

    exit_code = ExitCode.CRASH


class ConfigError(IngestdError):
    """The configuration is wrong; `problems` lists every one as "place: what is wrong, what is right"."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: Sequence[str]):
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class StartupError(IngestdError):
    """Something needed at start is missing; the message says how to get it."""

    exit_code = ExitCode.STARTUP


class Retryable(IngestdError):
    """The environment's fault (database down, broker away, disk full); retried with backoff."""


class LeaseLost(IngestdError):
    """Another worker claimed the partition; the transaction was rolled back and the worker exits."""

    exit_code = ExitCode.LEASE_LOST


class Halt(IngestdError):
    """The partition must not go on by itself; the message names the command that decides.

    `partitions` are the ones to halt; None means all the worker has.
    """

    exit_code = ExitCode.HALTED

    def __init__(self, message: str, partitions: Sequence[int] | None = None):
        super().__init__(message)
        self.partitions = None if partitions is None else tuple(partitions)
