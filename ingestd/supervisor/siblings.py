"""The children beside the workers, and when each may start again. Knows nothing of what they do."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ingestd.backoff import backoff_secs
from ingestd.board import Board, Slot
from ingestd.config.options import Config
from ingestd.errors import ExitCode
from ingestd.logs import get_logger
from ingestd.signals import Stop
from ingestd.supervisor.children import Child, describe_exit
from ingestd.supervisor.fleet import STEADY_SECS

log = get_logger()


@dataclass
class Sibling:
    """The membership, the status process or the keeper."""

    name: str
    slot: Slot
    body: Callable[[Config, Board, Stop], int] | None = None
    """What it runs; None: it is not wanted, or (the membership) it needs more than these."""
    child: Child | None = None
    failures: int = 0
    boot_failures: int = 0
    """How often in a row it ended before its first beat because it could not start."""
    start_at: float = 0.0

    def note_failure(self, child: Child, code: int, now: float, restart_backoff_secs: float) -> None:
        """`child` has ended without being asked to: it starts again after a pause."""
        if now - child.started_at >= STEADY_SECS:
            self.failures = 0
        self.failures += 1
        boots = not child.has_beaten() and code in (ExitCode.STARTUP, ExitCode.USAGE)
        self.boot_failures = self.boot_failures + 1 if boots else 0
        self.start_at = now + backoff_secs(restart_backoff_secs, self.failures)
        pause = round(self.start_at - now, 2)
        log.warning("child ended", child=self.name, how=describe_exit(code), restart_in_secs=pause)

    def note_fork_failure(self, error: OSError, restart_backoff_secs: float) -> None:
        """The system had no process for it: tried again after a pause."""
        self.failures += 1
        self.start_at = time.monotonic() + backoff_secs(restart_backoff_secs, self.failures)
        log.error("child not started", child=self.name, error=str(error))


def needs_keeper(config: Config) -> bool:
    """Whether a pipeline has a lake, dead letters to pass on, or keys to forget."""
    return any(
        pipeline.lake is not None
        or pipeline.dead_letters.topic
        or pipeline.dead_letters.parquet
        or (pipeline.dedupe is not None and pipeline.dedupe.retention is not None)
        or (pipeline.table.delete is not None and pipeline.table.delete.retention is not None)
        or (pipeline.medallion is not None and pipeline.medallion.every is not None)
        for pipeline in config.pipeline
    )
