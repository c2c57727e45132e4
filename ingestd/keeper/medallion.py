"""Duty: what is compacted is staged, what is staged merged, in a thread beside other duties. Knows no election."""

import threading
from collections.abc import Callable

from ingestd.config import options as cfg
from ingestd.errors import IngestdError, Retryable
from ingestd.logs import get_logger
from ingestd.medallion.chain import Chain
from ingestd.medallion.current import Refused

_LOOK_SECS = 1.0
_STOP_SECS = 2.0

log = get_logger()


class _Stopped(Exception):
    """The keeper ends; what was begun is begun anew by the next one."""


class MakeTables:
    """Stage and current of one pipeline, every so often."""

    name = "stage and current"

    def __init__(self, options: cfg.Store, pipeline: cfg.Pipeline, make: Callable[..., Chain] = Chain):
        assert pipeline.medallion is not None and pipeline.medallion.every is not None
        self._options = options
        self._pipeline = pipeline
        self._make = make
        self._every = float(pipeline.medallion.every)
        self._work: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._told: dict[str, str] = {}

    def turn(self) -> float:
        """Begin, or look how far it has come. Raises: Retryable, Halt."""
        if self._work is None:
            self._work = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._work.start()
            return _LOOK_SECS
        if self._work.is_alive():
            return _LOOK_SECS
        self._work, error, self._error = None, self._error, None
        if isinstance(error, IngestdError):
            raise error
        if error is not None:
            log.error("stage and current crashed", pipeline=self._pipeline.name, exc_info=error)
            raise Retryable(f"a defect of ingestd, the log has it: {error!r}") from error
        return self._every

    def close(self) -> None:
        """Between two steps of the work; a kill in the midst of one does no harm."""
        self._stopping.set()
        if self._work is not None:
            self._work.join(_STOP_SECS)

    def _run(self) -> None:
        try:
            chain = self._make(self._options, self._pipeline)
            try:
                self._turn(chain)
            finally:
                chain.close()
        except _Stopped:
            return
        except BaseException as error:
            self._error = error

    def _turn(self, chain: Chain) -> None:
        for unit in chain.stage(tick=self._tick):
            counts = {"events": unit.events, "rows": unit.rows, "dead": unit.dead, "ignored": unit.ignored}
            log.info("staged", pipeline=self._pipeline.name, table=unit.table, run_id=unit.run_id, **counts)
        for found in chain.current(tick=self._tick):
            if not isinstance(found, Refused):
                self._told.pop(found.table, None)
                counts = {"runs": found.runs, "events": found.events, "rows": found.rows}
                log.info("merged", pipeline=self._pipeline.name, table=found.table, version=found.version, **counts)
            elif self._told.get(found.table) != found.reason:
                self._told[found.table] = found.reason
                log.error("not merged", pipeline=self._pipeline.name, table=found.table, reason=found.reason)

    def _tick(self) -> None:
        if self._stopping.is_set():
            raise _Stopped
