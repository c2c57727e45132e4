"""The gate before an SQLite table: the first record of a key goes through, and leaves its key only with its row."""

from typing import Any

import msgspec
import pytest

from ingestd.config import options as cfg
from ingestd.errors import Halt
from ingestd.sinks.sqlite.gate import forget_keys
from tests.sqlite.bench import ask
from tests.sqlite.conftest import MakeBench


def _pipeline(name: str = "p", **dedupe: Any) -> cfg.Pipeline:
    columns = [{"name": "event_id", "type": "text", "required": True}, {"name": "v", "type": "int4"}]
    return msgspec.convert(
        {
            "name": name,
            "topic": "orders",
            "dead_letters": {"max_ratio": 1.0, "max_run": 1_000_000},
            "column": columns,
            "dedupe": {"table": "seen", "key": "event_id", "create": True, **dedupe},
            "table": {"name": "orders", "mode": "append"},
        },
        cfg.Pipeline,
    )


_DDL = "CREATE TABLE orders (event_id TEXT, v INT CHECK (v <> -1))"


def test_repeat_within_a_batch_or_later_or_in_another_partition_is_a_duplicate(bench: MakeBench) -> None:
    writer = bench(_DDL, _pipeline(), partitions=(0, 1))
    writer.commit([{"event_id": f"{n % 150}", "v": n} for n in range(200)])
    writer.commit([{"event_id": "7", "v": 1000}, {"event_id": "new", "v": 1001}], 0, partition=1)
    assert writer.column("v") == [*range(150), 1001]
    assert ask(writer.path, "SELECT sum(inserted), sum(duplicates) FROM ingestd_cursors") == [(151, 51)]
    found = 'SELECT topic, partition, "offset" FROM seen WHERE event_id = ?'
    assert ask(writer.path, found, "7") == [("orders", 0, 7)]
    assert ask(writer.path, found, "new") == [("orders", 1, 1)]


def test_refused_record_leaves_no_key_so_that_its_repeat_gets_in(bench: MakeBench) -> None:
    writer = bench(_DDL, _pipeline())
    writer.commit([{"event_id": "a", "v": -1}, {"event_id": "b", "v": 1}, {"event_id": "a", "v": 2}])
    assert writer.dead() == [(0, "23514")]
    assert writer.column("event_id") == ["a", "b"]
    writer.commit([{"event_id": "c", "v": -1}], 3)
    assert [row[0] for row in ask(writer.path, "SELECT event_id FROM seen ORDER BY 1")] == ["a", "b"]


def test_rewind_adds_nothing(bench: MakeBench) -> None:
    writer = bench(_DDL, _pipeline())
    values = [{"event_id": f"{n}", "v": n} for n in range(300)]
    writer.commit(values)
    writer.rewind()
    writer.commit(values)
    assert writer.column("v") == list(range(300))


def test_forgotten_key_counts_as_new(bench: MakeBench) -> None:
    pipeline = _pipeline(retention=cfg.Secs(3600))
    writer = bench(_DDL, pipeline)
    writer.commit([{"event_id": "old", "v": 1}, {"event_id": "young", "v": 2}])
    ask(writer.path, "UPDATE seen SET seen_at = '2020-01-01T00:00:00.000Z' WHERE event_id = 'old'")
    assert forget_keys(writer.store.open(), pipeline, 3600, 100) == 1
    writer.commit([{"event_id": "old", "v": 3}, {"event_id": "young", "v": 4}], 2)
    assert writer.column("v") == [1, 2, 3]


def test_table_without_a_unique_key_halts_with_the_ddl(bench: MakeBench) -> None:
    writer = bench(f"{_DDL}; CREATE TABLE seen (event_id TEXT, other INT);", _pipeline())
    with pytest.raises(Halt, match='CREATE UNIQUE INDEX "seen_event_id_key"'):
        writer.commit([{"event_id": "a", "v": 1}])
