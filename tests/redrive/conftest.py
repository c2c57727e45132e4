"""The fixtures of these tests: a pipeline with dead letters on a fresh database, and the command that redrives them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from ingestd.batch import Counts, Rows
from ingestd.decode.json import make_decoder
from ingestd.redrive.mend import Mending
from ingestd.redrive.redrive import Redrive, Result
from ingestd.stores.dead_letters import Wanted
from ingestd.stores.postgres_letters import PostgresLetters
from ingestd.stores.store import LedgerKey
from tests.sinks.contracts import Bench, ask, pipeline_of

DDL = "CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0), w text)"
COLUMNS = {"id": "text", "v": "int4", "w": "text"}


class Desk:
    """A bench whose dead letters can be redriven; a second store stands for the command's own connection."""

    def __init__(self, url: str, **more: Any):
        self.url = url
        ask(url, more.pop("ddl", DDL))
        self.bench = Bench(url, pipeline_of(more.pop("columns", COLUMNS), **more))
        self._more = [self.bench.store]

    def box(self) -> PostgresLetters:
        """The box on a connection of its own."""
        return PostgresLetters(self.store(), self.key)

    def store(self) -> Any:
        """A store of its own."""
        store = type(self.bench.store)(self.bench.store._options, self.key)
        self._more.append(store)
        return store

    @property
    def key(self) -> LedgerKey:
        return LedgerKey(self.bench.pipeline.name, self.bench.pipeline.topic)

    def redrive(
        self,
        ids: Sequence[int] | None = None,
        fix: Sequence[str] = (),
        text: str | None = None,
        keep: bool = True,
        seen: Callable[[Rows], None] = lambda rows: None,
        sink: Any = None,
    ) -> Result:
        """Redrive these letters, by default all."""
        from ingestd.sinks.table import TableSink

        store = self.store()
        box = PostgresLetters(store, self.key)
        pipeline = self.bench.pipeline
        redrive = Redrive(store, sink or TableSink(pipeline), box, self.key, make_decoder(pipeline), keep)
        chosen = box.find(Wanted()) if ids is None else ids
        return redrive.run(chosen, Mending(fix, text, None), seen)

    def counters(self) -> dict[str, int]:
        """The ledger's counters of partition 0."""
        names = (*Counts.__struct_fields__, "redriven", "dropped")
        row = ask(self.url, f"SELECT {', '.join(names)} FROM ingestd.cursors WHERE partition = 0")[0]
        return dict(zip(names, row, strict=True))

    def letters(self) -> list[tuple[int, str]]:
        """(offset, reason) of the letters, by offset."""
        return [tuple(r) for r in ask(self.url, 'SELECT "offset", reason FROM ingestd.dead_letters ORDER BY 1')]

    def close(self) -> None:
        for store in self._more:
            store.close()


@pytest.fixture
def desk(database: str) -> Iterator[Callable[..., Desk]]:
    """`desk(ddl=, columns=, ...)` makes a Desk; the other arguments as for `pipeline_of`."""
    made: list[Desk] = []

    def make(**more: Any) -> Desk:
        made.append(Desk(database, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
