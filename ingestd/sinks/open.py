"""The sink of a pipeline, by the store that holds its tables. Loads only the driver that is needed."""

from typing import Any

from ingestd.config import options as cfg
from ingestd.stores.open import is_sqlite


def open_sink(store: cfg.Store, pipeline: cfg.Pipeline) -> Any:
    """The `worker.writer.Sink` that gate, mode and store ask for; it touches no database before `attach`."""
    sink = _open_sqlite_sink(pipeline) if is_sqlite(store) else _open_postgres_sink(pipeline)
    if pipeline.table.mode != "append":
        return sink
    from ingestd.sinks.replayed import AppendOnce

    return AppendOnce(sink)


def _open_postgres_sink(pipeline: cfg.Pipeline) -> Any:
    sink = _open_postgres_table(pipeline)
    if pipeline.dedupe is None:
        return sink
    from ingestd.sinks.gated import GatedSink
    from ingestd.sinks.postgres.gate import PostgresGate

    return GatedSink(PostgresGate(pipeline), sink)


def _open_postgres_table(pipeline: cfg.Pipeline) -> Any:
    if pipeline.table.mode == "upsert":
        from ingestd.sinks.postgres.upsert import UpsertSink

        return UpsertSink(pipeline)
    from ingestd.sinks.postgres.table import TableSink

    return TableSink(pipeline)


def _open_sqlite_sink(pipeline: cfg.Pipeline) -> Any:
    from ingestd.sinks.sqlite.table import SqliteTableSink

    sink = SqliteTableSink(pipeline)
    if pipeline.dedupe is None:
        return sink
    from ingestd.sinks.gated import GatedSink
    from ingestd.sinks.sqlite.gate import SqliteGate

    return GatedSink(SqliteGate(pipeline), sink)
