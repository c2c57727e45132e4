"""The commit protocol on a real server, broken at every step: rows, dead letters and cursor tile the log exactly once.

The pure model of it is tests/property/protocol_model.py.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ingestd.batch import Tile
from ingestd.errors import LeaseLost, Retryable
from tests.fix_proxy import MakeProxy
from tests.sinks.contracts import Bench, MemoryRecord, ask, decoded, pipeline_of, records_of

_DDL = "CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0))"
_LOG: list[MemoryRecord | None] = [
    None if n % 7 == 3 else record
    for n, record in enumerate(
        records_of([b"no json" if n % 11 == 4 else {"id": f"{n:03}", "v": -1 if n % 5 == 2 else 1} for n in range(40)])
    )
]
"""None is a hole: a control record, or what compaction took away. The last tile ends in holes."""
_LOG += [None, None]
_TILE = 6


class LogWorker:
    """What a worker does with a lease, without Kafka and threads: the log is `_LOG`, a batch is one tile."""

    def __init__(self, url: str):
        self._pipeline = pipeline_of({"id": "text", "v": "int4"})
        self._url = url
        self._bench: Bench | None = None
        self.position: int | None = None

    def step(self) -> None:
        """The next thing that this worker would do: start, claim after a fault, or commit a tile."""
        try:
            if self._bench is None:
                self._bench = Bench(self._url, self._pipeline)
                self.position = self._bench.claim([0], dict(self._bench.writer.epochs))[0]
            elif self.position is None:
                self.position = self._bench.claim([0], dict(self._bench.writer.epochs))[0]
            else:
                self._commit()
        except Retryable:
            self._fail()
        except LeaseLost:
            self.crash()

    def _commit(self) -> None:
        assert self._bench is not None and self.position is not None
        end = min(self.position + _TILE, len(_LOG))
        if end == self.position:
            return
        records = [record for record in _LOG[self.position : end] if record is not None]
        self._bench.commit_rows(decoded(self._pipeline, records, [Tile(0, self.position, end)]))
        self.position = end

    def _fail(self) -> None:
        self.position = None
        if self._bench is not None:
            self._bench.store.close()

    def crash(self) -> None:
        """Gone with everything it knew; the next step is a fresh start."""
        if self._bench is not None:
            self._bench.store.close()
        self._bench, self.position = None, None

    @property
    def done(self) -> bool:
        return self.position == len(_LOG)


def _run(worker: LogWorker, at_most: int = 100) -> None:
    for _ in range(at_most):
        if worker.done:
            return
        worker.step()
    raise AssertionError("the worker does not come to the end of the log")


def _verdict(url: str) -> None:
    rows = [n for n, record in enumerate(_LOG) if record is not None and n % 11 != 4 and n % 5 != 2]
    dead = [n for n, record in enumerate(_LOG) if record is not None and (n % 11 == 4 or n % 5 == 2)]
    assert ask(url, "SELECT id FROM orders ORDER BY 1") == [(f"{n:03}",) for n in rows]
    assert ask(url, 'SELECT "offset" FROM ingestd.dead_letters ORDER BY 1') == [(n,) for n in dead]
    assert ask(url, "SELECT next_offset, records, inserted, duplicates, dead FROM ingestd.cursors") == [
        (len(_LOG), len(rows) + len(dead), len(rows), 0, len(dead))
    ]


_STEPS = [b"pg_advisory", b"first_cursor", b"FOR UPDATE", b"COPY", b"orders", b"dead_letters", b"SET next_offset"]


def _nth(word: bytes, n: int) -> Callable[[bytes], bool]:
    left = [n]

    def fires(chunk: bytes) -> bool:
        left[0] -= word in chunk
        return left[0] < 0

    return fires


@pytest.mark.parametrize("forward", [False, True], ids=["lost", "answer_lost"])
@pytest.mark.parametrize("word", [*_STEPS, b"COMMIT"], ids=lambda word: str(word, "ascii").replace(" ", "_"))
def test_connection_cut_at_any_step_loses_and_doubles_nothing(
    database: str, proxy: MakeProxy, word: bytes, forward: bool
) -> None:
    """`answer_lost`: the statement arrives, and the worker does not learn it."""
    ask(database, _DDL)
    parts = urlsplit(database)
    between = proxy(str(parts.hostname), parts.port or 5432)
    url = parts._replace(netloc=f"postgres@127.0.0.1:{between.port}").geturl()
    for n in range(4):
        worker = LogWorker(url)
        fired = between.cut_when(_nth(word, n), forward=forward)
        _run(worker)
        worker.crash()
        _verdict(database)
        assert fired.is_set() or n or word in (b"first_cursor", b"pg_advisory")
        ask(database, "TRUNCATE orders, ingestd.dead_letters, ingestd.cursors")


@pytest.mark.parametrize("nth", range(12))
def test_backend_killed_at_any_statement_loses_and_doubles_nothing(database: str, nth: int) -> None:
    """The server itself ends the session, as it does for a shutdown, before the nth COPY, INSERT or cursor move."""
    ask(database, _DDL)
    ask(
        database,
        f"""
        CREATE TABLE kills (n int); INSERT INTO kills VALUES ({nth});
        CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('statements') = (SELECT n + 1 FROM kills) THEN
                PERFORM pg_terminate_backend(pg_backend_pid());
            END IF;
            RETURN NULL;
        END $$;
        CREATE SEQUENCE statements;
        CREATE TRIGGER kill BEFORE INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION kill()""",
    )
    worker = LogWorker(database)
    worker.step()
    for table in ("cursors", "dead_letters"):
        trigger = f"CREATE TRIGGER kill AFTER INSERT OR UPDATE ON ingestd.{table} FOR EACH STATEMENT"
        ask(database, f"{trigger} EXECUTE FUNCTION public.kill()")
    _run(worker)
    worker.crash()
    assert ask(database, "SELECT last_value > n FROM statements, kills") == [(True,)]
    _verdict(database)


_ACTIONS = st.tuples(
    st.integers(0, 2), st.sampled_from(["step", "step", "step", "step", "crash", "terminate", "forget", "forget"])
)


def _terminate(url: str, worker: LogWorker) -> None:
    bench = worker._bench
    if bench is not None and bench.store._connection is not None:
        with suppress(psycopg.OperationalError):
            ask(url, "SELECT pg_terminate_backend(%s, 5000)", bench.store._connection.info.backend_pid)


# No shrinking: on a real server it takes minutes.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(actions=st.lists(_ACTIONS, min_size=15, max_size=40))
def test_workers_that_fence_each_other_tile_the_log(database: str, actions: list[tuple[int, str]]) -> None:
    """Three workers, each going on with what it has in memory, in any order."""
    if not ask(database, "SELECT to_regclass('orders')")[0][0]:
        ask(database, _DDL)
    workers = [LogWorker(database) for _ in range(3)]
    for which, action in actions:
        worker = workers[which]
        if action == "step":
            worker.step()
        elif action == "crash":
            worker.crash()
        elif action == "terminate":
            _terminate(database, worker)
        elif ask(database, "SELECT to_regclass('ingestd.cursors')")[0][0]:
            ask(database, "UPDATE ingestd.cursors SET backend_pid = NULL")  # the next claim cannot end the zombie
    last: Any = LogWorker(database)
    _run(last)
    for worker in (*workers, last):
        worker.crash()
    _verdict(database)
    ask(database, "TRUNCATE orders, ingestd.dead_letters, ingestd.cursors")
