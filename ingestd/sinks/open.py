"""The sink of a pipeline, by the store that holds its tables. Loads only the driver that is needed."""

from collections.abc import Callable
from typing import Any

from ingestd.config import options as cfg
from ingestd.stores.open import is_sqlite
from ingestd.stores.store import Transaction


def open_sink(store: cfg.Store, pipeline: cfg.Pipeline) -> Any:
    """The `worker.writer.Sink` that gate, mode and store ask for; it touches no database before `attach`."""
    sink = _open_table(store, pipeline)
    if pipeline.dedupe is not None:
        from ingestd.sinks.gated import GatedSink

        sink = GatedSink(open_gate(store, pipeline), sink)
    if pipeline.table.mode != "append":
        return sink
    from ingestd.sinks.replayed import AppendOnce

    return AppendOnce(sink)


def open_truncate(store: cfg.Store, pipeline: cfg.Pipeline) -> Callable[[Transaction], None]:
    """What empties the pipeline's table, and the memory of its deletes, in a transaction."""
    if not pipeline.has_table() or not pipeline.column:
        return lambda tx: None
    if is_sqlite(store):
        from ingestd.sinks.sqlite.truncate import truncate as truncate_sqlite

        return lambda tx: truncate_sqlite(tx, pipeline)
    from ingestd.sinks.postgres.truncate import truncate

    return lambda tx: truncate(tx, pipeline)


def open_gate(store: cfg.Store, pipeline: cfg.Pipeline) -> Any:
    """The `sinks.gated.Gate` of a pipeline that has one."""
    if is_sqlite(store):
        from ingestd.sinks.sqlite.gate import SqliteGate

        return SqliteGate(pipeline)
    from ingestd.sinks.postgres.gate import PostgresGate

    return PostgresGate(pipeline)


def _open_table(store: cfg.Store, pipeline: cfg.Pipeline) -> Any:
    if not pipeline.has_table() or not pipeline.column:
        # Without columns: a copy that waits for the first event of its source.
        from ingestd.sinks.no_table import NoTableSink

        return NoTableSink()
    if is_sqlite(store):
        from ingestd.sinks.sqlite.table import SqliteTableSink

        return SqliteTableSink(pipeline)
    if pipeline.table.mode == "upsert":
        from ingestd.sinks.postgres.upsert import UpsertSink

        return UpsertSink(pipeline)
    from ingestd.sinks.postgres.table import TableSink

    return TableSink(pipeline)
