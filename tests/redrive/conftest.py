"""The fixtures of these tests: a pipeline with dead letters in a fresh database of each store, and its redrive."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingestd.batch import Counts, Rows
from ingestd.config import options as cfg
from ingestd.decode.decoder import make_decoder
from ingestd.redrive.mend import Mending
from ingestd.redrive.redrive import Redrive, Result, drop
from ingestd.sinks.open import open_sink
from ingestd.stores.dead_letters import DeadLetterBox, Wanted
from ingestd.stores.open import open_letters, open_store
from ingestd.stores.store import LedgerKey, Store
from tests.sinks import contracts
from tests.sqlite import bench as files

DDL = "CREATE TABLE orders (id text PRIMARY KEY, v int CHECK (v > 0), w text)"
APPEND_DDL = "CREATE TABLE orders (id text, v int CHECK (v > 0), w text)"
COLUMNS = {"id": "text", "v": "int4", "w": "text"}


class Desk:
    """A bench whose dead letters can be redriven; every redrive has a connection of its own, as the command has."""

    def __init__(self, place: str, sqlite: bool, ddl: str = DDL, **more: Any):
        """`place` is the URL of a database or the path of a file."""
        self.sqlite = sqlite
        self._place = place
        self.ask(ddl)
        pipeline = more.pop("pipeline", None) or contracts.pipeline_of(more.pop("columns", COLUMNS), **more)
        self.bench: Any = files.FileBench(place, pipeline) if sqlite else contracts.Bench(place, pipeline)
        self.pipeline: cfg.Pipeline = pipeline
        self.options = cfg.Store(url=f"sqlite:///{place}" if sqlite else place)
        self.key = LedgerKey(pipeline.name, pipeline.topic)
        self._stores: list[Store] = [self.bench.store]

    def ask(self, query: str) -> list[Any]:
        """The rows of a query, with {letters} and {cursors} for the ledger's tables."""
        prefix = "ingestd_" if self.sqlite else "ingestd."
        text = query.replace("{letters}", f"{prefix}dead_letters").replace("{cursors}", f"{prefix}cursors")
        return [tuple(row) for row in (files if self.sqlite else contracts).ask(self._place, text)]

    def store(self) -> Store:
        """A store of its own."""
        self._stores.append(open_store(self.options, self.key))
        return self._stores[-1]

    def box(self, store: Store | None = None) -> DeadLetterBox:
        """The box, on a connection of its own."""
        box: DeadLetterBox = open_letters(self.options, store or self.store(), self.key)
        return box

    def sink(self) -> Any:
        """The pipeline's own sink."""
        return open_sink(self.options, self.pipeline)

    def redrive(
        self,
        ids: Sequence[int] | None = None,
        fix: Sequence[str] = (),
        text: str | None = None,
        keep: bool = True,
        seen: Callable[[Rows], None] = lambda rows: None,
        sink: Any = None,
        through: Callable[[Any], Any] = lambda box: box,
    ) -> Result:
        """Redrive these letters, by default all; `through` may stand before the box."""
        store = open_store(self.options, self.key)  # closed here: SQLite's belongs to the thread that opened it
        box = through(self.box(store))
        redrive = Redrive(store, sink or self.sink(), box, self.key, make_decoder(self.pipeline), keep)
        chosen = box.find(Wanted()) if ids is None else ids
        try:
            return redrive.run(chosen, Mending(fix, text, None), seen)
        finally:
            store.close()

    def drop(self, wanted: Wanted) -> int:
        """Drop these letters."""
        store = self.store()
        return drop(store, self.box(store), self.box().find(wanted))

    def counters(self) -> dict[str, int]:
        """The ledger's counters of partition 0."""
        names = (*Counts.__struct_fields__, "redriven", "dropped")
        row = self.ask(f"SELECT {', '.join(names)} FROM {{cursors}} WHERE partition = 0")[0]
        return dict(zip(names, row, strict=True))

    def letters(self) -> list[tuple[int, str]]:
        """(offset, reason) of the letters, by offset."""
        return self.ask('SELECT "offset", reason FROM {letters} ORDER BY 1')

    def close(self) -> None:
        for store in self._stores:
            store.close()


MakeDesk = Callable[..., Desk]


@pytest.fixture(params=["postgres", "sqlite"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeDesk]:
    """`desk(ddl=, columns=, ...)` makes a Desk; the other arguments as for `pipeline_of`."""
    sqlite = request.param == "sqlite"
    place = str(tmp_path / "silver.db") if sqlite else request.getfixturevalue("database")
    made: list[Desk] = []

    def make(**more: Any) -> Desk:
        made.append(Desk(place, sqlite, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
