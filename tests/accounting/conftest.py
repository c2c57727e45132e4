"""The fixtures of these tests: a pipeline on a real database whose table tells where its rows came from, or not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ingestd.accounting.account import ReadLog
from ingestd.accounting.verify import Report, verify
from ingestd.config import options as cfg
from tests.sinks.contracts import Bench, ask, pipeline_of
from tests.sqlite.bench import FileBench
from tests.sqlite.bench import ask as ask_file

LINEAGE = [{"name": "part", "type": "int4", "source": "partition"}, {"name": "off", "type": "int8", "source": "offset"}]


class Books:
    """What the daemon would have written, the hands that change it, and the verdict."""

    def __init__(self, place: str, pipeline: cfg.Pipeline, partitions: tuple[int, ...]):
        self._place = place
        self._small = not place.startswith("postgresql:")
        self.store = cfg.Store(url=f"sqlite:///{place}" if self._small else place)
        self.bench = (FileBench if self._small else Bench)(place, pipeline, partitions)
        self.commit = self.bench.commit
        self.claim = self.bench.claim

    def sql(self, query: str, *values: Any) -> list[Any]:
        """A statement as PostgreSQL reads it."""
        if not self._small:
            return ask(self._place, query, *values)
        return ask_file(self._place, query.replace("ingestd.", "ingestd_").replace("TRUNCATE", "DELETE FROM"), *values)

    def verify(self, read_log: ReadLog | None = None, *chosen: int, others: tuple[cfg.Pipeline, ...] = ()) -> Report:
        pipeline = self.bench.pipeline
        kafka = cfg.Kafka(bootstrap_servers="x", group_id="g")
        config = cfg.Config(kafka=kafka, store=self.store, pipeline=(pipeline, *others))
        return verify(config, pipeline, chosen, read_log)


MakeBooks = Callable[..., Books]


@pytest.fixture(params=["postgres", "sqlite"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeBooks]:
    """`books(lineage=False, mode="insert", partitions=(0,), delete=None, **options of the pipeline)`."""
    made: list[Books] = []
    place = str(tmp_path / "s.db") if request.param == "sqlite" else request.getfixturevalue("database")

    def make(
        lineage: bool = False,
        mode: str = "insert",
        partitions: tuple[int, ...] = (0,),
        delete: cfg.Delete | None = None,
        **more: Any,
    ) -> Books:
        columns = [{"name": "id", "type": "int8", "required": True}, *(LINEAGE if lineage else [])]
        pipeline = pipeline_of({}, mode=mode, create=True, **{"column": columns, **more})
        if delete:
            pipeline = structs.replace(pipeline, table=structs.replace(pipeline.table, delete=delete))
        made.append(Books(place, pipeline, partitions))
        return made[-1]

    yield make
    for one in made:
        one.bench.store.close()


def records(*numbers: int) -> list[dict[str, int]]:
    return [{"id": number} for number in numbers]
