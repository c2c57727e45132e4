"""Several workers make the same table at the same moment, from a file of SQL that says plain CREATE TABLE."""

import threading
import time
from pathlib import Path

import msgspec
import psycopg

from ingestd.sinks.postgres.table import TableSink
from ingestd.stores.postgres.statements import SQL
from tests.sinks.contracts import ask, pipeline_of

DDL = "CREATE TABLE orders (id text PRIMARY KEY)"


def test_worker_that_waited_for_another_one_to_make_the_table_goes_on(database: str, tmp_path: Path) -> None:
    """Its session has looked in vain and remembers that, although the table is there when the lock is free."""
    (tmp_path / "ddl.sql").write_text(DDL)
    pipeline = pipeline_of({"id": "text"}, create=True)
    table = msgspec.structs.replace(pipeline.table, ddl=str(tmp_path / "ddl.sql"))
    sink = TableSink(msgspec.structs.replace(pipeline, table=table))
    refused: list[BaseException] = []

    def attach() -> None:
        try:
            with psycopg.connect(database) as late:
                sink.attach(late)
        except psycopg.Error as error:
            refused.append(error)

    with psycopg.connect(database) as early:
        early.execute(SQL["schema_lock"])
        thread = threading.Thread(target=attach)
        thread.start()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
        deadline = time.monotonic() + 10
        while not ask(database, waiting):
            assert time.monotonic() < deadline, "nobody waits for the lock"
            threading.Event().wait(0.02)
        early.execute(DDL.encode())
    thread.join(10)
    assert refused == []
    assert [way.name for way in sink.ways()] == ["DIRECT", "STAGED", "LOOPED"]
