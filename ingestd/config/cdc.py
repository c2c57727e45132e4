"""The options of change data capture: how Debezium's events are read. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.types import Options


class Cdc(Options, frozen=True, kw_only=True):
    """The values are Debezium change events; columns read the row after the change.

    A delete deletes (`table.delete` is set by itself: hard), a snapshot read is an upsert, tombstones, heartbeats and
    transaction markers are passed over.
    """

    columns: Annotated[
        Literal["declared", "from_events"],
        Meta(
            description='"from_events": no column is declared; names, types and key come from the schema inside the events, and follow it when the source\'s table changes. "declared": `[[pipeline.column]]`, as for any other format.'
        ),
    ] = "declared"
    decimals: Annotated[
        Literal["precise", "string", "double"],
        Meta(description="Debezium's decimal.handling.mode; known by itself where the events bring their schema."),
    ] = "precise"
    unavailable: Annotated[
        str,
        Meta(
            description="Debezium's unavailable.value.placeholder: an unchanged TOASTed value that is not in the event; the stored one is kept."
        ),
    ] = "__debezium_unavailable_value"
    lsn_column: Annotated[str | None, Meta(description="An int8 column that keeps the LSN of the last change.")] = None
