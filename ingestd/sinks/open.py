"""The sink of a pipeline, by the store that holds its tables. Loads only the driver that is needed."""

from typing import Any

from ingestd.config import options as cfg


def open_sink(store: cfg.Store, pipeline: cfg.Pipeline) -> Any:
    """The `worker.writer.Sink` that gate, mode and store ask for; it touches no database before `attach`."""
    from ingestd.sinks.table import TableSink

    sink = TableSink(pipeline)
    if pipeline.dedupe is None:
        return sink
    from ingestd.sinks.gate import PostgresGate
    from ingestd.sinks.gated import GatedSink

    return GatedSink(PostgresGate(pipeline), sink)
