"""The options of one column. Knows nothing of how they are used."""

from typing import Annotated, Literal

from msgspec import Meta

from ingestd.config.types import Options


class Column(Options, frozen=True, kw_only=True):
    """One column of the contract: where the value comes from, its type, what may be missing."""

    name: Annotated[str, Meta(min_length=1, description="Column of the table.")]
    type: Annotated[
        str,
        Meta(
            description="text, varchar(n), int2, int4, int8, float4, float8, numeric(p,s), bool, uuid, timestamptz, timestamp, date, time, jsonb, bytea; scalar types also as arrays: int4[]. epoch reads what timestamptz reads and stores seconds since 1970 as a double."
        ),
    ]
    path: Annotated[
        str | None,
        Meta(
            description='Where the value is in the record, with dots into nested objects: "payload.account_id". Default: the column\'s name.'
        ),
    ] = None
    required: Annotated[bool, Meta(description="A record without the field, or with null, becomes a dead letter.")] = (
        False
    )
    default: Annotated[
        str | int | float | bool | None,
        Meta(description="Value when the field is absent (an explicit null stays null)."),
    ] = None
    epoch: Annotated[
        Literal["s", "ms", "us"] | None,
        Meta(
            description="For timestamps: numbers, and numeric strings, are seconds, milliseconds or microseconds since 1970. ISO-8601 text is read as well."
        ),
    ] = None
    assume_utc: Annotated[
        bool,
        Meta(
            description="For timestamptz and epoch: text without an offset is UTC. Without this it becomes a dead letter."
        ),
    ] = False
    source: Annotated[
        Literal["value", "key", "headers", "topic", "partition", "offset", "timestamp", "now", "run"],
        Meta(
            description='Where the value comes from: the record\'s value (default), its key, its headers (jsonb), its topic, partition, offset or timestamp, "now", the time of the write, or "run", the id of the execution of `ingestd run` (a UUID of version 7, as text or uuid). topic, partition and offset columns let `ingestd verify` account for every record.'
        ),
    ] = "value"
    stored: Annotated[
        bool,
        Meta(
            description="false: read and checked, may be the gate's key, a version or decide about a delete, but is no column of the table."
        ),
    ] = True
    keep_when_absent: Annotated[
        bool,
        Meta(
            description="For upsert: a record without the field leaves the stored value as it is (an explicit null writes null)."
        ),
    ] = False
    enum: Annotated[tuple[str | int | float, ...], Meta(description="The only values that are allowed.")] = ()
    pattern: Annotated[
        str | None,
        Meta(
            description="Regular expression (RE2) that must be found in the text; anchor it with ^ and $ to match all of it."
        ),
    ] = None
    min: Annotated[
        int | float | str | None,
        Meta(description="Smallest allowed value, for numbers, dates and times (the latter two as text)."),
    ] = None
    max: Annotated[int | float | str | None, Meta(description="Largest allowed value.")] = None
    max_length: Annotated[
        Annotated[int, Meta(ge=0)] | None, Meta(description="Longest allowed text, in characters.")
    ] = None
    format: Annotated[
        Literal["email", "uri", "hostname", "ipv4", "ipv6"] | None,
        Meta(description="What the text must be. For ids and times use the types uuid, timestamptz, date, time."),
    ] = None
    on_bad: Annotated[
        Literal["dead_letter", "strip", "replace", "null"] | None,
        Meta(description="What becomes of a value that cannot be stored; default: the pipeline's on_bad."),
    ] = None
