"""Change events through the decoder into a PostgreSQL table: the table is the copy."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from ingestd.batch import Chunk, Tile
from ingestd.config.live_copy import live_copy
from ingestd.config.options import Column
from ingestd.decode.decoder import make_decoder
from tests.debezium.changes import EventRecord, copy_of, event
from tests.sinks.contracts import Bench, ask

UNAVAILABLE = "__debezium_unavailable_value"
EVENTS = [
    event("r", {"id": 1, "note": "big", "n": 1}, lsn=10),
    event("c", {"id": 2, "note": "two", "n": None}, lsn=11),
    event("u", {"id": 1, "note": UNAVAILABLE, "n": 2}, lsn=12),
    event("u", {"id": 2, "note": "zwei", "n": 3}, lsn=13),
    event("d", None, {"id": 2, "note": "zwei", "n": None}, lsn=14),
    None,
    event("c", {"id": 2, "note": "again", "n": 4}, lsn=15),
    event("u", {"id": 2, "note": UNAVAILABLE, "n": 5}, lsn=16),
    event("d", None, {"id": 3, "note": "", "n": None}, lsn=17),
]


def commit(bench: Bench, events: Sequence[bytes | None], start: int) -> None:
    records = [EventRecord(value, b'{"id":0}', start + n) for n, value in enumerate(events)]
    bench.commit_rows(make_decoder(bench.pipeline)(Chunk([Tile(3, start, start + len(events))], records)))


@pytest.mark.parametrize("size", [1, 2, 9])
@pytest.mark.parametrize("required", [False, True])
def test_absent_values_stay_and_deletes_delete_however_events_are_cut(database: str, size: int, required: bool) -> None:
    note = Column(name="note", type="text", required=required)
    pipeline = copy_of(Column(name="id", type="int4"), note, Column(name="n", type="int8"), lsn_column="lsn")
    table = structs.replace(pipeline.table, create=True)
    bench = Bench(database, live_copy(structs.replace(pipeline, table=table)), (3,))
    try:
        for start in range(0, len(EVENTS), size):
            commit(bench, EVENTS[start : start + size], start)
        wanted: list[Any] = [(1, "big", 2, 12), (2, "again", 5, 16)]
        assert ask(database, "SELECT id, note, n, lsn FROM orders ORDER BY id") == wanted
        assert bench.cursor(3) == len(EVENTS)
    finally:
        bench.store.close()
