"""The keeper: for each pipeline that needs it a post, held by one host, with duties in turns. Knows no supervisor."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ingestd.backoff import backoff_secs
from ingestd.board import Board
from ingestd.config import options as cfg
from ingestd.config.topics import has_many_topics
from ingestd.errors import ExitCode, Halt, IngestdError, Retryable
from ingestd.keeper.duty import Duty
from ingestd.keeper.retention import retentions_of
from ingestd.logs import get_logger
from ingestd.signals import Stop
from ingestd.stores.dead_letters import Outbox
from ingestd.stores.open import is_sqlite, open_letters, open_store
from ingestd.stores.store import ALL_TOPICS, LedgerKey, Store

_TICK_SECS = 5.0
_ASK_AGAIN_SECS = 5.0
_FIRST_BACKOFF_SECS = 1.0
_LONGEST_BACKOFF_SECS = 30.0
_HALT_SECS = 60.0
_LOCK_CLASS = 731_057_811

log = get_logger()


class Post:
    """The duties of one pipeline, done by whoever holds its lock in the database.

    The lock belongs to the session that also marks what was done: who has lost it cannot mark any more.
    """

    def __init__(self, pipeline: str, store: Store, outbox: Outbox, duties: Sequence[Duty], lock: bool):
        """`lock` is false for a store that only one daemon can use."""
        self._pipeline = pipeline
        self._store = store
        self._outbox = outbox
        self._duties = duties
        self._lock = lock
        self._due = {duty.name: 0.0 for duty in duties}
        self._failures = dict.fromkeys(self._due, 0)
        self._told: dict[str, str] = {}
        self._holder: Any = None
        self._elected = ""
        self._prepared = False

    def turn(self) -> float:
        """Every duty that is due has its turn; the seconds until the next one."""
        for duty in self._duties:
            if time.monotonic() < self._due[duty.name]:
                continue
            try:
                # Before every duty: one that failed may have closed the session, and the lock with it.
                pause = duty.turn() if self._elect() else _ASK_AGAIN_SECS
            except (Retryable, Halt) as fault:
                pause = self._failed(duty.name, fault)
            else:
                self._went_well(duty.name)
            self._due[duty.name] = time.monotonic() + pause
        return max(0.0, min(self._due.values()) - time.monotonic())

    def _elect(self) -> bool:
        """Whether this session holds the post. Raises: Retryable, Halt."""
        connection = self._store.open()
        if connection is self._holder:
            return True
        if not self._prepared:
            self._store.prepare()
            self._outbox.prepare()
            self._prepared = True
            connection = self._store.open()
        if self._lock and not self._try_lock(connection):
            self._say_elected("another host keeps this pipeline")
            return False
        self._holder = connection
        self._say_elected("keeping")
        return True

    def _try_lock(self, connection: Any) -> bool:
        with self._store.deciding(), connection.cursor() as cursor:
            query = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
            held = bool(cursor.execute(query, (_LOCK_CLASS, self._pipeline)).fetchone()[0])
            connection.commit()
        return held

    def _say_elected(self, what: str) -> None:
        if what != self._elected:
            log.info(what, pipeline=self._pipeline)
        self._elected = what

    def _failed(self, name: str, fault: IngestdError) -> float:
        """How long to wait; said once for each reason, not at every try."""
        self._failures[name] = failures = self._failures.get(name, 0) + 1
        if self._told.get(name) != str(fault):
            say = log.error if isinstance(fault, Halt) else log.warning
            say("keeper waits", pipeline=self._pipeline, duty=name, reason=str(fault))
        self._told[name] = str(fault)
        if isinstance(fault, Halt):
            return _HALT_SECS
        return backoff_secs(_FIRST_BACKOFF_SECS, failures, _LONGEST_BACKOFF_SECS)

    def _went_well(self, name: str) -> None:
        self._failures[name] = 0
        if self._told.pop(name, None) is not None:
            log.info("keeper goes on", pipeline=self._pipeline, duty=name)

    def close(self) -> None:
        """Leave the post; the lock goes with the session."""
        for duty in self._duties:
            duty.close()
        self._store.close()


def posts_of(config: cfg.Config, beat: Callable[[], None] = lambda: None) -> list[Post]:
    """A post for each pipeline that has something to keep; `beat` is called within long turns."""
    posts = []
    for pipeline in config.pipeline:
        key = LedgerKey(pipeline.name, ALL_TOPICS if has_many_topics(pipeline) else pipeline.topic)
        store = open_store(config.store, key)
        outbox = open_letters(config.store, store, key)
        duties = _duties(config, pipeline, store, outbox, beat)
        if duties:
            posts.append(Post(pipeline.name, store, outbox, duties, lock=not is_sqlite(config.store)))
    return posts


def _duties(
    config: cfg.Config, pipeline: cfg.Pipeline, store: Store, outbox: Outbox, beat: Callable[[], None]
) -> list[Duty]:
    duties: list[Duty] = []
    if pipeline.dead_letters.topic is not None:
        from ingestd.keeper.forward import Forward

        duties.append(Forward(config.kafka, pipeline, outbox))
    if pipeline.dead_letters.parquet is not None:
        from ingestd.keeper.export import Export

        duties.append(Export(pipeline, outbox))
    if pipeline.lake is not None:
        from ingestd.keeper.lake import lake_duties

        duties += lake_duties(config.store, pipeline, lambda _rows: beat())
    if pipeline.medallion is not None and pipeline.medallion.every is not None:
        from ingestd.keeper.medallion import MakeTables

        duties.append(MakeTables(config.store, pipeline))
    return [*duties, *retentions_of(config.store, pipeline, store)]


def run_keeper(config: cfg.Config, board: Board, slot: int, stop: Stop) -> int:
    """Keep until SIGTERM; the exit code of the process."""
    posts = posts_of(config, lambda: board.beat(slot))
    try:
        while not stop.requested():
            board.beat(slot)
            pause = min((post.turn() for post in posts), default=_TICK_SECS)
            stop.wait(min(pause, _TICK_SECS))
    finally:
        for post in posts:
            post.close()
    return ExitCode.OK
