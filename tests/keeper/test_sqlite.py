"""A pipeline in SQLite is kept as one in PostgreSQL is, without an election: its file has one daemon."""

from pathlib import Path

import msgspec

from ingestd.config import options as cfg
from ingestd.keeper.keeper import posts_of
from tests.keeper.conftest import turn_until
from tests.keeper.test_export import rows
from tests.sinks.contracts import pipeline_of
from tests.sqlite.bench import FileBench, ask


def test_letters_are_exported_once_and_old_keys_forgotten(tmp_path: Path) -> None:
    path = str(tmp_path / "silver.db")
    ask(path, "CREATE TABLE orders (id TEXT PRIMARY KEY, v INTEGER);")
    pipeline = pipeline_of(
        {"id": "text", "v": "int4"}, dead_letters={"max_ratio": 1.0, "parquet": str(tmp_path / "dead")}
    )
    bench = FileBench(path, pipeline)
    bench.commit([b"bad \xff", {"id": "a", "v": 1}, b"worse"])
    bench.store.close()
    delete = cfg.Delete(tombstone=True, how="hard", retention=cfg.Secs(3600))
    table = msgspec.structs.replace(pipeline.table, mode="upsert", delete=delete)
    ask(
        path,
        'CREATE TABLE ingestd_versions (pipeline TEXT, key TEXT, version TEXT, partition INTEGER, "offset" INTEGER,'
        " deleted INTEGER, changed_at TEXT, PRIMARY KEY (pipeline, key)) WITHOUT ROWID;"
        "INSERT INTO ingestd_versions SELECT 'p', 'k' || value, '1', 0, 0, 1, '2020-01-01T00:00:00.000Z' FROM"
        " json_each('[1,2,3]'); UPDATE ingestd_versions SET deleted = 0 WHERE key = 'k3';",
    )
    config = cfg.Config(
        kafka=cfg.Kafka(bootstrap_servers="127.0.0.1:1", group_id="g"),
        store=cfg.Store(url=f"sqlite:///{path}"),
        pipeline=(msgspec.structs.replace(pipeline, table=table),),
    )
    (post,) = posts_of(config)
    waiting = "SELECT count(*) FROM ingestd_dead_letters WHERE exported_at IS NULL"
    turn_until(post, lambda: ask(path, waiting) == [(0,)])
    post.turn()
    post.close()
    assert [row["payload"] for row in rows(tmp_path / "dead")] == [b"bad \xff", b"worse"]
    assert ask(path, "SELECT key FROM ingestd_versions") == [("k3",)]
