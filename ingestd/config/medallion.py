"""The options of a bronze lake's stage and current tables. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.column import Column
from ingestd.config.types import Bytes, Options, Secs


class MedallionTable(Options, frozen=True, kw_only=True):
    """What the change events of one topic, or of many of a kind, become: a stage table and a current table each."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            description='Name of the tables, and of their directories; "{table}", "{schema}" and "{topic}" are those of the topic.',
        ),
    ] = "{table}"
    topic: Annotated[
        str | None,
        Meta(
            description='Which of the pipeline\'s topics: a name, several with commas, or a pattern with "*". Of several tables that read a topic the first takes it. Default: all.'
        ),
    ] = None
    columns: Annotated[
        Literal["from_events", "declared"],
        Meta(
            description='"from_events": names, types and key come from the schema inside the events. "declared": `[[pipeline.medallion.table.column]]`, which read the row after the change.'
        ),
    ] = "from_events"
    column: Annotated[tuple[Column, ...], Meta(description='The columns, with columns = "declared".')] = ()
    key: Annotated[
        tuple[str, ...],
        Meta(
            description="Primary key: current has one row for each. From the events' own schema where it is left out."
        ),
    ] = ()
    partition_by: Annotated[
        tuple[str, ...],
        Meta(
            description='Hive partitions of the stage table below run_id=..: its columns, and year(c), month(c), day(c), hour(c) or date(c), such as "date(_ts)".'
        ),
    ] = ()
    decimals: Annotated[
        Literal["precise", "string", "double"],
        Meta(
            description="Debezium's decimal.handling.mode, where events bring no schema.",
        ),
    ] = "precise"
    unavailable: Annotated[
        str, Meta(description="Debezium's unavailable.value.placeholder: current keeps the value that it has.")
    ] = "__debezium_unavailable_value"


class Medallion(Options, frozen=True, kw_only=True):
    """Typed tables out of the compacted change events of a bronze lake: all events, and the latest row of each key.

    Local paths only. Needs `lake.compact.into`.
    """

    stage: Annotated[
        str | None,
        Meta(
            description='Directory of the stage tables: <stage>/<table>/run_id=<run>/*.parquet; default: "stage" beside the lake\'s path.'
        ),
    ] = None
    current: Annotated[
        str | None,
        Meta(
            description='Directory of the current tables: <current>/<table>/*.parquet; default: "current" beside the lake\'s path.'
        ),
    ] = None
    table: Annotated[
        tuple[MedallionTable, ...],
        Meta(description="The tables; default: of every topic one, with the columns that its events bring."),
    ] = ()
    every: Annotated[
        Secs | None,
        Meta(
            description="How often the keeper stages what is compacted and merges what is staged; default: never, only `ingestd lake stage` and `ingestd lake current` do."
        ),
    ] = None
    memory: Annotated[
        Bytes, Meta(description="Memory of a merge; what does not fit spills beside the current tables.")
    ] = Bytes(512 * 1024 * 1024)
    bucket_bytes: Annotated[
        Bytes,
        Meta(
            description="Current is kept in files by a hash of the key, so many that each has about this size: a merge reads and writes those files only that have a changed key."
        ),
    ] = Bytes(16 * 1024 * 1024)
