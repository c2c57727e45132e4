"""What `[pipeline.cdc]` settles by itself in the other options of its pipeline. Knows no records and no servers."""

from msgspec import structs

from ingestd.config.options import Column, Config, Delete, Pipeline

HARD = Delete(how="hard")


def with_live_copies(config: Config) -> Config:
    """`config` with every pipeline of change events as a live copy."""
    return structs.replace(config, pipeline=tuple(map(live_copy, config.pipeline)))


def live_copy(pipeline: Pipeline) -> Pipeline:
    """`pipeline` as the copy of a source's table; one without `[pipeline.cdc]` as it is. Twice is as good as once.

    Deletes are hard, the key is required, every other column keeps its stored value when an event does not bring it,
    and `cdc.lsn_column` is a column.
    """
    cdc, table = pipeline.cdc, pipeline.table
    if cdc is None:
        return pipeline
    columns = [_copied(column, table.key, cdc.lsn_column) for column in pipeline.column]
    if cdc.lsn_column is not None and cdc.lsn_column not in {column.name for column in columns}:
        columns.append(Column(name=cdc.lsn_column, type="int8"))
    if pipeline.has_table():
        table = structs.replace(table, delete=HARD)
    return structs.replace(pipeline, column=tuple(columns), table=table)


def _copied(column: Column, key: tuple[str, ...], lsn_column: str | None) -> Column:
    if column.source != "value" or column.name == lsn_column:
        return column
    if column.name in key:
        return structs.replace(column, required=True)
    return structs.replace(column, keep_when_absent=True)
